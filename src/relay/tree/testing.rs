//! Trees for tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::relay::tree::Tree;

/// A folder that goes away with its test.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| folder.write(path, text));
        folder
    }

    /// The two bots of the guide.
    pub fn of_two() -> Self {
        Self::with(&[
            ("relay.yaml", RELAY),
            ("sources/disk.yaml", "{ source: disk, path: /, every: 10m, topic: host/disk, scope: link }\n"),
            ("rules/10-disk.yaml", DISK),
            ("rules/50-tell.yaml.hub", TELL),
            ("secrets.yaml.hub", "{ xmpp_password: hush-hub }\n"),
            ("secrets.yaml.laptop", "{ xmpp_password: hush-laptop }\n"),
        ])
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, path: &str, text: &str) {
        let file = self.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        if path.starts_with("secrets") {
            self.chmod(path, 0o600);
        }
    }

    pub fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn remove(&self, path: &str) {
        fs::remove_file(self.path().join(path)).unwrap();
    }

    pub fn tree(&self) -> Tree {
        Tree::open(self.path()).unwrap()
    }
}

pub const RELAY: &str = r#"relay: 1
bots:
  hub:    { xmpp: mneme-hub@chat.example.org }
  laptop: { xmpp: mneme-laptop@chat.example.org }
topics:
  - { topic: host/**,   kind: sample, life: 1h }
  - { topic: alerts/**, life: 7d }
  - { topic: announce,  open: true }
links:
  - { from: laptop, to: hub, by: xmpp, topics: ["**"] }
  - { from: hub, to: laptop, by: xmpp, topics: [alerts/**, announce] }
transports:
  xmpp: { server: "chat.example.org:5222", tls: starttls, password: { secret: xmpp_password } }
"#;

const DISK: &str = r#"rules:
  - name: disk-nearly-full
    when: topic equals host/disk and mine is true and used_percent > 90
    do: [ { publish: { topic: alerts/disk, scope: fleet, subject: "{origin}: {path} is {used_percent} % full" } } ]
"#;

const TELL: &str = r#"rules:
  - { name: tell, when: topic matches "^alerts/", do: [ { post: { channel: "123456789012345678", text: "⚠ {subject}" } } ] }
"#;
