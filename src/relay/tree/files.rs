//! [`Tree`]: the files of a folder, and which of them a bot uses.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::yaml::source::FILE_MAX;

/// The file that a tree has at least.
pub const MAIN: &str = "relay.yaml";

pub const SECRETS: &str = "secrets.yaml";

pub const SOURCES: &str = "sources/";

pub const RULES: &str = "rules/";

/// More than these were not written by people; listing them would take longer than a start may.
const FILES_MAX: usize = 2_000;

/// A file of the tree that may be ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// As all bots call it: `rules/50-tell.yaml`.
    pub name: String,
    /// The bot that it is for: `hub` for `rules/50-tell.yaml.hub`.
    pub suffix: Option<String>,
}

impl Found {
    /// Where it lies in the tree.
    pub fn path(&self) -> String {
        match &self.suffix {
            Some(suffix) => format!("{}.{suffix}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether anything reads files of this name.
    fn is_read(&self) -> bool {
        let inside = |folder: &str| {
            self.name
                .strip_prefix(folder)
                .is_some_and(|name| !name.contains('/') && name.len() > ".yaml".len())
        };
        self.name == MAIN || self.name == SECRETS || inside(SOURCES) || inside(RULES)
    }
}

/// A folder, listed.
#[derive(Clone, Debug)]
pub struct Tree {
    pub root: PathBuf,
    /// Everything that looks like ours, in order.
    pub files: Vec<Found>,
    /// What looks like YAML, and nothing reads.
    pub unread: Vec<String>,
}

impl Tree {
    pub fn open(root: &Path) -> io::Result<Self> {
        let mut tree = Self { root: root.to_owned(), files: Vec::new(), unread: Vec::new() };
        tree.list("")?;
        tree.files.sort();
        tree.unread.sort();
        Ok(tree)
    }

    fn list(&mut self, folder: &str) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(folder))? {
            let entry = entry?;
            // A name that is no text is not one of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{folder}{name}");
            if name.starts_with('.') {
                continue;
            }
            if fs::metadata(entry.path()).is_ok_and(|data| data.is_dir()) {
                if folder.is_empty() {
                    self.list(&format!("{path}/"))?;
                }
                continue;
            }
            match found(&path) {
                Some(found) if found.is_read() => self.files.push(found),
                _ if path.contains(".yaml") || path.contains(".yml") => self.unread.push(path),
                _ => {}
            }
            if self.files.len() > FILES_MAX {
                return Err(io::Error::other(format!(
                    "more than {FILES_MAX} files: is this the right folder?"
                )));
            }
        }
        Ok(())
    }

    /// The files that a bot uses, by the name that all call them: its own where it has one.
    pub fn chosen(&self, bot: &str) -> BTreeMap<&str, &Found> {
        let mut chosen = BTreeMap::new();
        // In order a file without a suffix comes before those with one.
        for file in self.files.iter().filter(|file| file.suffix.as_deref().is_none_or(|suffix| suffix == bot))
        {
            chosen.insert(file.name.as_str(), file);
        }
        chosen
    }

    /// Whether another file is used in place of this one.
    pub fn replaces(&self, file: &Found) -> bool {
        file.suffix.is_some()
            && self.files.iter().any(|other| other.suffix.is_none() && other.name == file.name)
    }

    pub fn read(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        // One byte more, so that the reader can say that it is too long.
        let file = fs::File::open(self.root.join(path))?;
        file.take(FILE_MAX as u64 + 1).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// `rules/50-tell.yaml.hub`: its name and the suffix.
fn found(path: &str) -> Option<Found> {
    let (stem, rest) = path.split_once(".yaml")?;
    let suffix = match rest.strip_prefix('.') {
        Some(suffix) if !suffix.is_empty() => Some(suffix.to_owned()),
        _ if rest.is_empty() => None,
        _ => return None,
    };
    Some(Found { name: format!("{stem}.yaml"), suffix })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::tree::testing::Folder;

    #[test]
    fn a_bots_own_file_replaces_the_one_for_all() {
        let folder = Folder::with(&[
            ("relay.yaml", ""),
            ("sources/disk.yaml", ""),
            ("sources/disk.yaml.laptop", ""),
            ("rules/50-tell.yaml.hub", ""),
            ("secrets.yaml.hub", ""),
            ("rules/10.yaml.bak", ""),
            ("source/disk.yaml", ""),
            ("rules/x.yml", ""),
            ("certs/ca.pem", ""),
            (".git/x.yaml", ""),
        ]);
        let tree = folder.tree();
        let chosen = |bot: &str| tree.chosen(bot).values().map(|file| file.path()).collect::<Vec<_>>();
        assert_eq!(
            chosen("hub"),
            ["relay.yaml", "rules/50-tell.yaml.hub", "secrets.yaml.hub", "sources/disk.yaml"]
        );
        assert_eq!(chosen("laptop"), ["relay.yaml", "sources/disk.yaml.laptop"]);
        assert_eq!(chosen("x"), ["relay.yaml", "sources/disk.yaml"]);
        assert_eq!(tree.unread, ["rules/x.yml", "source/disk.yaml"]);
        let replaced: Vec<_> =
            tree.files.iter().filter(|file| tree.replaces(file)).map(Found::path).collect();
        assert_eq!(replaced, ["sources/disk.yaml.laptop"]);
    }

    #[test]
    fn names_have_at_most_one_suffix() {
        let read = |path| found(path).map(|found| (found.name, found.suffix));
        assert_eq!(read("relay.yaml"), Some(("relay.yaml".into(), None)));
        assert_eq!(read("a/b.yaml.hub"), Some(("a/b.yaml".into(), Some("hub".into()))));
        assert_eq!((read("a.yamlx"), read("a.yaml."), read("a.toml")), (None, None, None));
    }
}
