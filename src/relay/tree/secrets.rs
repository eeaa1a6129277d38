//! [`Secrets`]: what is shown to nobody. The configuration names them, `{ secret: xmpp_password }`; their values
//! lie in `secrets.yaml.<bot>`, which only its owner may read, or one to a file in a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::relay::tree::files::{SECRETS, Tree};
use crate::yaml::{Located, Place, Reader, did_you_mean};

/// Whoever is not the file's owner.
const OTHERS: u32 = 0o077;

/// No key or password is longer.
const SECRET_MAX: usize = 16 * 1024;

/// Where secrets come from, and whether they must be there.
#[derive(Clone, Debug, Default)]
pub struct SecretsFrom {
    /// One file for each name.
    pub folder: Option<PathBuf>,
    /// The bot is about to start, or was asked for by name.
    pub required: bool,
}

/// The secrets of one bot.
#[derive(Debug, Default)]
pub struct Secrets {
    values: BTreeMap<String, (Place, SecretString)>,
    /// They are elsewhere, so none of them is missed.
    elsewhere: bool,
    /// Where they were looked for.
    place: String,
    /// Whether they are lines of one file.
    in_file: bool,
    used: BTreeSet<String>,
}

/// A name: it is a file's name, and part of messages.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

impl Secrets {
    /// Of a bot whose secrets are elsewhere.
    pub fn unknown() -> Self {
        Self { elsewhere: true, ..Self::default() }
    }

    /// Reads a bot's secrets.
    pub fn read(reader: &mut Reader, tree: &Tree, bot: &str, from: &SecretsFrom) -> Self {
        let path = format!("{SECRETS}.{bot}");
        if let Some(folder) = &from.folder {
            return Self::in_folder(reader, folder);
        }
        if tree.files.iter().any(|file| file.path() == path) {
            return Self::in_file(reader, tree, path);
        }
        Self { elsewhere: !from.required, place: path, ..Self::default() }
    }

    fn in_file(reader: &mut Reader, tree: &Tree, path: String) -> Self {
        let file = tree.root.join(&path);
        let mode = fs::metadata(&file).map(|data| data.permissions().mode() & 0o777);
        let mut secrets = Self { place: path, in_file: true, ..Self::default() };
        secrets.place.clone_into(&mut reader.file);
        if let Ok(mode) = mode
            && mode & OTHERS != 0
        {
            let told = format!("others can read it (mode {mode:o}): chmod 600 {}", file.display());
            reader.fault(Place::default(), told);
        }
        let text = match tree.read(&secrets.place) {
            Ok(text) => text,
            Err(error) => {
                reader.fault(Place::default(), format!("cannot be read: {error}"));
                return secrets;
            }
        };
        let Some(found) = reader.open(&secrets.place.clone(), &text) else { return secrets };
        for entry in reader.entries(&found, "this is a mapping of names to secrets").unwrap_or_default() {
            // What is wrong with a secret is told without the secret.
            match (&entry.value.value(), is_name(&entry.name)) {
                (serde_json::Value::String(text), true) if !text.is_empty() => {
                    let value = SecretString::from(text.clone());
                    secrets.values.insert(entry.name.clone(), (entry.at, value));
                }
                (_, true) => {
                    reader.fault(entry.at, format!("{} is a text in quotes, and not empty", entry.name))
                }
                (_, false) => {
                    reader.fault(entry.at, format!("{:?} is no name: a-z, 0-9, _ and -", entry.name))
                }
            }
        }
        secrets
    }

    /// Containers mount secrets so. Who may read the files is up to whoever mounts them.
    fn in_folder(reader: &mut Reader, folder: &Path) -> Self {
        let mut secrets = Self { place: folder.display().to_string(), ..Self::default() };
        let names = fs::read_dir(folder).map(|entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| is_name(name))
        });
        secrets.place.clone_into(&mut reader.file);
        match names {
            Ok(names) => {
                for name in names {
                    let Ok(text) = fs::read_to_string(folder.join(&name)) else { continue };
                    let text = text.trim_end_matches(['\r', '\n']);
                    if !text.is_empty() && text.len() <= SECRET_MAX {
                        secrets.values.insert(name, (Place::default(), SecretString::from(text.to_owned())));
                    }
                }
            }
            Err(error) => reader.fault(Place::default(), format!("cannot be read: {error}")),
        }
        secrets
    }

    /// The secret that `{ secret: name }` names. `None`: it is missing, and that was told.
    /// `Some(None)`: the secrets of this bot are elsewhere.
    pub fn take(&mut self, reader: &mut Reader, found: &Located, what: &str) -> Option<SecretString> {
        let named = found.entries().and_then(|entries| match entries {
            [entry] if entry.name == "secret" => entry.value.text(),
            _ => None,
        });
        let Some(name) = named.filter(|name| is_name(name)) else {
            reader.fault(
                found.at,
                format!("{what} is {{ secret: name }}, and the secret stands in {SECRETS}.<bot>"),
            );
            return None;
        };
        self.named(reader, found.at, name)
    }

    /// A secret that the program itself asks for.
    pub fn named(&mut self, reader: &mut Reader, at: Place, name: &str) -> Option<SecretString> {
        self.used.insert(name.to_owned());
        let found = self.values.get(name).map(|(_, value)| value.clone());
        if found.is_none() && !self.elsewhere {
            let nearest = did_you_mean(name, self.values.keys().map(String::as_str));
            reader.fault(at, format!("the secret {name} is not in {}{nearest}", self.place));
        }
        found
    }

    /// The names of those that are used, and the lines that they stand in.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        let used = self.values.iter().filter(|(name, _)| self.used.contains(*name));
        used.map(|(name, (at, _))| (name.as_str(), at.line))
    }

    /// Where they were looked for.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Nobody expects them here.
    pub fn are_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Tells what nothing uses. In a folder there may be those of others.
    pub fn finish(&self, reader: &mut Reader) {
        self.place.clone_into(&mut reader.file);
        for (name, (at, _)) in
            self.values.iter().filter(|(name, _)| self.in_file && !self.used.contains(*name))
        {
            let nearest = did_you_mean(name, self.used.iter().map(String::as_str));
            reader.warn(*at, format!("nothing uses the secret {name}{nearest}"));
        }
    }

    /// Those that are used, as a file of them.
    pub fn file(&self) -> Option<SecretString> {
        let used = self.values.iter().filter(|(name, _)| self.used.contains(*name));
        let text: String =
            used.map(|(name, (_, value))| format!("{name}: {}\n", quoted(value.expose_secret()))).collect();
        (!text.is_empty()).then(|| SecretString::from(text))
    }
}

/// A text in double quotes: what JSON writes, YAML reads.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::tree::testing::Folder;

    fn read(folder: &Folder, bot: &str, from: &SecretsFrom) -> (Secrets, Vec<String>) {
        let mut reader = Reader::default();
        let secrets = Secrets::read(&mut reader, &folder.tree(), bot, from);
        (secrets, reader.flaws.iter().map(ToString::to_string).collect())
    }

    fn take(secrets: &mut Secrets, text: &str) -> (Option<String>, Vec<String>) {
        let mut reader = Reader::default();
        let found = reader.open("relay.yaml", text).unwrap();
        let secret = secrets.take(&mut reader, &found, "password");
        let told = reader.flaws.iter().map(ToString::to_string).collect();
        (secret.map(|secret| secret.expose_secret().to_owned()), told)
    }

    #[test]
    fn a_secret_is_named_where_it_is_used_and_lies_elsewhere() {
        let folder = Folder::with(&[("secrets.yaml.hub", "{ password: hush, odd: x }\n")]);
        let (mut secrets, flaws) = read(&folder, "hub", &SecretsFrom::default());
        assert!(flaws.is_empty(), "{flaws:?}");
        assert_eq!(take(&mut secrets, "{ secret: password }"), (Some("hush".into()), vec![]));
        let (none, told) = take(&mut secrets, "{ secret: pasword }");
        assert_eq!((none, told[0].contains("did you mean password?")), (None, true), "{told:?}");
        let (none, told) = take(&mut secrets, "hush");
        assert!(
            none.is_none() && told[0].contains("{ secret: name }") && !told[0].contains("hush"),
            "{told:?}"
        );
        let mut reader = Reader::default();
        secrets.finish(&mut reader);
        assert_eq!(
            reader.flaws[0].to_string(),
            "secrets.yaml.hub:1:19: warning: nothing uses the secret odd"
        );
        assert!(!format!("{secrets:?}").contains("hush"));
    }

    #[test]
    fn what_others_can_read_is_no_secret() {
        let folder = Folder::with(&[("secrets.yaml.hub", "{ a: b }\n")]);
        folder.chmod("secrets.yaml.hub", 0o640);
        let (_, flaws) = read(&folder, "hub", &SecretsFrom::default());
        assert!(
            flaws[0].starts_with("secrets.yaml.hub: others can read it (mode 640): chmod 600 "),
            "{flaws:?}"
        );
    }

    #[test]
    fn a_bad_file_of_secrets_is_told_without_them() {
        let folder = Folder::with(&[("secrets.yaml.hub", "a: 12345678\nB: hush\nc: \"\"\n")]);
        let (_, flaws) = read(&folder, "hub", &SecretsFrom::default());
        assert_eq!(flaws.len(), 3, "{flaws:?}");
        assert!(flaws.iter().all(|flaw| !flaw.contains("hush") && !flaw.contains("12345678")), "{flaws:?}");
    }

    #[test]
    fn they_can_be_files_and_elsewhere() {
        let folder = Folder::with(&[("run/password", "hush\n"), ("run/.x", "y")]);
        let from = SecretsFrom { folder: Some(folder.path().join("run")), required: true };
        let (mut secrets, flaws) = read(&folder, "hub", &from);
        assert!(flaws.is_empty());
        assert_eq!(take(&mut secrets, "{ secret: password }").0.as_deref(), Some("hush"));
        assert_eq!(secrets.file().unwrap().expose_secret(), "password: \"hush\"\n");
        let (mut elsewhere, _) = read(&folder, "hub", &SecretsFrom::default());
        assert_eq!(take(&mut elsewhere, "{ secret: x }"), (None, vec![]));
        let required = SecretsFrom { folder: None, required: true };
        let (mut missing, _) = read(&folder, "hub", &required);
        assert!(take(&mut missing, "{ secret: x }").1[0].contains("is not in secrets.yaml.hub"));
    }
}
