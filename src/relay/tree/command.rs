//! `mneme config`: looks at a tree without starting anything.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::config::{self, ConfigAct};
use crate::relay::name::BotName;
use crate::relay::routes::Routes;
use crate::relay::tree::bundle::bundle;
use crate::relay::tree::check::{check, fleet_of};
use crate::relay::tree::files::Tree;
use crate::relay::tree::host::{Host, read};
use crate::relay::tree::secrets::SecretsFrom;
use crate::relay::tree::show::show;
use crate::yaml::did_you_mean;

/// Does what was asked for and writes the answer; anything wrong with the tree is an error.
pub fn run(options: &config::Relay, act: &ConfigAct, out: &mut impl Write) -> anyhow::Result<()> {
    let root = options.folder();
    let tree = Tree::open(&root).with_context(|| format!("read the folder {}", root.display()))?;
    match act {
        ConfigAct::Check { host } => {
            let host = host.as_deref().map(|host| named(&tree, host)).transpose()?;
            report(&tree, options, host.as_ref(), out)
        }
        ConfigAct::Show { host } => {
            let host = read_host(&tree, options, host.as_deref(), false)?;
            Ok(write!(out, "{}", show(&tree, &host))?)
        }
        ConfigAct::Bundle { host, with_secrets, file } => {
            let host = read_host(&tree, options, Some(host), *with_secrets)?;
            let bytes = bundle(&tree, &host, *with_secrets)?;
            write_file(file, &bytes).with_context(|| format!("write {}", file.display()))?;
            let secrets = if *with_secrets { "with its secrets" } else { "without secrets" };
            Ok(writeln!(out, "{}: {} as {} needs it, {secrets}", file.display(), root.display(), host.me)?)
        }
    }
}

/// The links of this bot, for whoever works beside it. `signs`: its secrets must be here.
pub fn routes(options: &config::Relay, signs: bool) -> anyhow::Result<Routes> {
    let root = options.folder();
    let tree = Tree::open(&root).with_context(|| format!("read the folder {}", root.display()))?;
    Ok(read_host(&tree, options, None, signs)?.routes())
}

/// A bot of the tree.
fn named(tree: &Tree, host: &str) -> anyhow::Result<BotName> {
    let name = BotName::new(host)?;
    let fleet = fleet_of(tree);
    if !fleet.bots.is_empty() && !fleet.bots.contains_key(&name) {
        let nearest = did_you_mean(host, fleet.bots.keys().map(BotName::as_str));
        bail!("there is no bot {host} in {}{nearest}", tree.root.display());
    }
    Ok(name)
}

fn report(
    tree: &Tree,
    options: &config::Relay,
    host: Option<&BotName>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let me = options.name().ok();
    let flaws = check(tree, host, me.as_ref(), options.secrets_dir.clone());
    for flaw in &flaws {
        writeln!(out, "{flaw}")?;
    }
    let warnings = flaws.iter().filter(|flaw| flaw.is_warning).count();
    let errors = flaws.len() - warnings;
    let whose = host.map_or("all bots".to_owned(), ToString::to_string);
    if errors > 0 {
        bail!("{} in {} for {whose}", counted(errors, "error"), tree.root.display());
    }
    let odd = if warnings > 0 { format!(", with {}", counted(warnings, "warning")) } else { String::new() };
    Ok(writeln!(out, "{} is sound for {whose}{odd}.", tree.root.display())?)
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// What a bot uses, or all that is wrong with it.
fn read_host(
    tree: &Tree,
    options: &config::Relay,
    host: Option<&str>,
    required: bool,
) -> anyhow::Result<Host> {
    let name = match host {
        Some(host) => named(tree, host)?,
        None => options.name()?,
    };
    let mine = options.name().is_ok_and(|me| me == name);
    let folder = options.secrets_dir.clone().filter(|_| mine || host.is_some());
    read(tree, &name, &SecretsFrom { folder, required }).sound().map_err(|flaws| {
        let list: Vec<_> = flaws.iter().map(|flaw| format!("\n  {flaw}")).collect();
        anyhow::anyhow!("{} has mistakes for {name}:{}", tree.root.display(), list.concat())
    })
}

/// Whole or not at all, and for the owner alone: it may hold secrets.
fn write_file(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    // One that was left behind may have another mode.
    let _ = fs::remove_file(part);
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
    open.write_all(bytes)?;
    open.sync_all()?;
    fs::rename(part, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::relay::tree::testing::Folder;

    fn run_on(folder: &Folder, act: &ConfigAct) -> Result<String, String> {
        let options = config::Relay {
            config: Some(folder.path().to_owned()),
            bot_name: Some("hub".into()),
            secrets_dir: None,
        };
        let mut out = Vec::new();
        let outcome = run(&options, act, &mut out);
        let text = String::from_utf8(out).unwrap().replace(&folder.path().display().to_string(), "config");
        match outcome {
            Ok(()) => Ok(text),
            Err(error) => {
                Err(format!("{text}{error:#}").replace(&folder.path().display().to_string(), "config"))
            }
        }
    }

    #[test]
    fn a_check_tells_all_and_fails_with_errors_only() {
        let folder = Folder::of_two();
        let act = ConfigAct::Check { host: None };
        assert_eq!(run_on(&folder, &act).unwrap(), "config is sound for all bots.\n");
        folder.write("rules/x.yaml.lap", "rules: []\n");
        let odd = run_on(&folder, &act).unwrap();
        assert!(
            odd.contains("warning: nobody reads it") && odd.ends_with("for all bots, with 1 warning.\n"),
            "{odd}"
        );
        folder.write("sources/disk.yaml", "{ source: disk, topic: host/disk }\n");
        let wrong = run_on(&folder, &act).unwrap_err();
        assert!(wrong.contains("sources/disk.yaml:1:1: path is missing\n"), "{wrong}");
        assert!(wrong.ends_with("1 error in config for all bots"), "{wrong}");
        let unknown = run_on(&folder, &ConfigAct::Check { host: Some("hubs".into()) }).unwrap_err();
        assert!(unknown.contains("there is no bot hubs in config; did you mean hub?"), "{unknown}");
    }

    #[test]
    fn a_bundle_is_its_owners_alone() {
        let folder = Folder::of_two();
        let file = folder.path().join("laptop.tar");
        let act = ConfigAct::Bundle { host: "laptop".into(), with_secrets: true, file: file.clone() };
        assert!(run_on(&folder, &act).unwrap().contains("as laptop needs it, with its secrets"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(run_on(&folder, &act).is_ok(), "it may be made anew");
        folder.remove("secrets.yaml.laptop");
        assert!(run_on(&folder, &act).unwrap_err().contains("the secret xmpp_password is not in"));
        assert!(
            run_on(&folder, &ConfigAct::Show { host: None })
                .unwrap()
                .starts_with("# hub uses these files of config\n")
        );
    }
}
