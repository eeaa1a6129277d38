//! What a bot really uses: every value and where it stands, secrets without their values.

use std::fmt::Write;

use serde_json::Value;

use crate::relay::envelope::Scope;
use crate::relay::tree::files::{SOURCES, Tree};
use crate::relay::tree::host::Host;
use crate::relay::tree::source::Source;
use crate::yaml::Located;
use crate::yaml::reader::shown;
use crate::yaml::source::Content;

/// In place of a secret.
const HIDDEN: &str = "***";

/// Keys whose values are secrets, even where somebody wrote one in place.
const SECRET_KEYS: [&str; 4] = ["password", "token", "env", "headers"];

/// One line for each value: `relay.yaml:3: bots.hub.xmpp = "mneme-hub@chat.example.org"`.
pub fn show(tree: &Tree, host: &Host) -> String {
    let mut text = format!("# {} uses these files of {}\n", host.me, tree.root.display());
    for (file, found) in &host.files {
        let path = file.path();
        let note = if tree.replaces(file) { format!("  (in place of {})", file.name) } else { String::new() };
        let _ = writeln!(text, "\n# {path}{note}");
        values(&mut text, &path, "", found, false);
        let source = file.name.strip_prefix(SOURCES).map(|name| name.trim_end_matches(".yaml"));
        if let Some(source) = host.sources.iter().find(|known| Some(known.key.as_str()) == source) {
            defaults(&mut text, found, source);
        }
    }
    let names: Vec<_> = host.secrets.names().collect();
    if !names.is_empty() {
        let _ = writeln!(text, "\n# {}", host.secrets.place());
    }
    for (name, line) in names {
        let line = if line > 0 { format!(":{line}") } else { String::new() };
        let _ = writeln!(text, "{}{line}: {name} = {HIDDEN}", host.secrets.place());
    }
    text
}

fn values(text: &mut String, file: &str, path: &str, found: &Located, is_secret: bool) {
    let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match &found.content {
        Content::Map(entries) => {
            for entry in entries {
                let hides = is_secret || SECRET_KEYS.contains(&entry.name.as_str());
                // The name of a secret is no secret, and tells where to look.
                let names = hides && entry.name == "secret";
                values(text, file, &inner(&entry.name), &entry.value, hides && !names);
            }
        }
        Content::List(elements) => {
            for (at, element) in elements.iter().enumerate() {
                values(text, file, &format!("{path}[{at}]"), element, is_secret);
            }
        }
        Content::Scalar(value) => {
            let value = if is_secret { HIDDEN.to_owned() } else { value.to_string() };
            let _ = writeln!(text, "{file}:{}: {path} = {value}", found.at.line);
        }
    }
}

/// What a source does that nobody wrote down.
fn defaults(text: &mut String, found: &Located, source: &Source) {
    let scope = match source.scope {
        Scope::Local => "local",
        Scope::Link => "link",
        Scope::Fleet => "fleet",
    };
    let known =
        [("every", shown(source.every)), ("scope", scope.to_owned()), ("timeout", shown(source.timeout))];
    let written = found.entries().unwrap_or_default();
    for (name, value) in known.iter().filter(|(name, _)| written.iter().all(|entry| entry.name != *name)) {
        let _ = writeln!(text, "default: {name} = {}", Value::from(value.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::name::BotName;
    use crate::relay::tree::secrets::SecretsFrom;
    use crate::relay::tree::testing::Folder;

    #[test]
    fn every_value_is_shown_with_its_file_and_no_secret_is() {
        let folder = Folder::of_two();
        folder.write("sources/disk.yaml.laptop", "{ source: disk, path: /home, topic: host/disk }\n");
        let web = "{ source: http, url: \"https://example.org/\", headers: { authorization: open-sesame }, topic: host/web }\n";
        folder.write("sources/web.yaml", web);
        let host = super::super::host::read(
            &folder.tree(),
            &BotName::new("laptop").unwrap(),
            &SecretsFrom::default(),
        );
        let shown = show(&folder.tree(), &host.sound().unwrap());
        for line in [
            "relay.yaml:3: bots.hub.xmpp = \"mneme-hub@chat.example.org\"",
            "relay.yaml:13: transports.xmpp.password.secret = \"xmpp_password\"",
            "# sources/disk.yaml.laptop  (in place of sources/disk.yaml)",
            "sources/disk.yaml.laptop:1: path = \"/home\"",
            "default: every = \"1m\"",
            "default: scope = \"local\"",
            "sources/web.yaml:1: headers.authorization = ***",
            "secrets.yaml.laptop:1: xmpp_password = ***",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
        assert!(
            !shown.contains("hush") && !shown.contains("sesame") && !shown.contains("50-tell"),
            "{shown}"
        );
    }
}
