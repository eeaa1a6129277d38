//! A tree as one bot needs it, in one file: nothing that only others use, and no secret unless it was asked for.
//! The same tree makes the same bytes.

use std::collections::BTreeMap;
use std::io;

use secrecy::ExposeSecret;

use crate::relay::tree::files::{SECRETS, Tree};
use crate::relay::tree::fleet::Carrier;
use crate::relay::tree::host::Host;

/// What tar calls a block.
const BLOCK: usize = 512;

/// A name that fits a header of the oldest kind.
const NAME_MAX: usize = 100;

/// For the owner and nobody else.
const PRIVATE: u32 = 0o600;

const PUBLIC: u32 = 0o644;

/// The archive's bytes.
pub fn bundle(tree: &Tree, host: &Host, with_secrets: bool) -> io::Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    for (file, _) in &host.files {
        let path = file.path();
        files.insert(path.clone(), (PUBLIC, tree.read(&path)?.into_bytes()));
    }
    let xmpp = host
        .fleet
        .transports
        .xmpp
        .as_ref()
        .filter(|_| host.fleet.carriers(&host.me).contains(&Carrier::Xmpp));
    if let Some(ca) = xmpp.and_then(|xmpp| xmpp.ca.clone()) {
        let bytes = std::fs::read(tree.root.join(&ca))?;
        files.insert(ca, (PUBLIC, bytes));
    }
    if let Some(secrets) = host.secrets.file().filter(|_| with_secrets) {
        let bytes = secrets.expose_secret().as_bytes().to_vec();
        files.insert(format!("{SECRETS}.{}", host.me), (PRIVATE, bytes));
    }
    let mut archive = Vec::new();
    for (path, (mode, bytes)) in &files {
        archive.extend(header(path, *mode, bytes.len())?);
        archive.extend(bytes);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

/// A header of POSIX's ustar: no times, no owners, nothing of the machine that made it.
fn header(path: &str, mode: u32, length: usize) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    if path.len() > NAME_MAX {
        return Err(io::Error::other(format!("{path}: a name has at most {NAME_MAX} bytes in a bundle")));
    }
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{length:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    // The sum counts itself as blanks.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::relay::name::BotName;
    use crate::relay::tree::host::read;
    use crate::relay::tree::secrets::SecretsFrom;
    use crate::relay::tree::testing::Folder;

    fn bundled(folder: &Folder, bot: &str, with_secrets: bool) -> Vec<u8> {
        let reading = read(&folder.tree(), &BotName::new(bot).unwrap(), &SecretsFrom::default());
        bundle(&folder.tree(), &reading.sound().unwrap(), with_secrets).unwrap()
    }

    fn holds(bytes: &[u8], text: &str) -> bool {
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[test]
    fn a_bundle_holds_one_bots_files_and_no_secret_of_others() {
        let folder = Folder::of_two();
        for (bot, other) in [("hub", "laptop"), ("laptop", "hub")] {
            let without = bundled(&folder, bot, false);
            assert!(!holds(&without, "hush"), "no secrets unless they are asked for");
            let with = bundled(&folder, bot, true);
            assert!(holds(&with, &format!("hush-{bot}")) && !holds(&with, &format!("hush-{other}")));
            assert!(!holds(&with, &format!("secrets.yaml.{other}")));
            assert_eq!(holds(&with, "50-tell"), bot == "hub");
            assert_eq!(with, bundled(&folder, bot, true), "the same tree makes the same bytes");
        }
    }

    #[test]
    fn tar_unpacks_it_to_a_tree_of_that_bot() {
        let folder = Folder::of_two();
        folder.write("sources/disk.yaml.hub", "{ source: disk, path: /srv, topic: host/disk }\n");
        let archive = folder.path().join("hub.tar");
        std::fs::write(&archive, bundled(&folder, "hub", true)).unwrap();
        let there = Folder::with(&[]);
        let status = Command::new("tar").arg("xf").arg(&archive).current_dir(there.path()).status().unwrap();
        assert!(status.success());
        let paths: Vec<_> = there.tree().files.iter().map(|file| file.path()).collect();
        let expected = [
            "relay.yaml",
            "rules/10-disk.yaml",
            "rules/50-tell.yaml.hub",
            "secrets.yaml.hub",
            "sources/disk.yaml.hub",
        ];
        assert_eq!(paths, expected);
        let required = SecretsFrom { folder: None, required: true };
        let hub = BotName::new("hub").unwrap();
        assert!(read(&there.tree(), &hub, &required).sound().is_ok());
    }
}
