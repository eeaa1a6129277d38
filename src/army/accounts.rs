//! Accounts of people on a running server that is compatible with Discord, and which servers are none of those.

use std::fmt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use reqwest::Url;
use secrecy::SecretString;

use crate::sim::Id;

/// Discord's own names. Driving people's accounts there is against its terms, and other bots do not hear it.
const REFUSED: [&str; 8] = [
    "discord.com",
    "discordapp.com",
    "discord.gg",
    "discord.media",
    "discord.gift",
    "discord.dev",
    "discordapp.net",
    "discordapp.io",
];

/// An account, as the file of `--accounts` has it.
#[derive(Clone)]
pub struct Account {
    pub name: String,
    pub token: SecretString,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where people are, and who.
#[derive(Clone, Debug)]
pub struct Place {
    pub url: Url,
    pub accounts: Vec<Account>,
    /// The bot under test, where it cannot be found out.
    pub bot: Option<Id>,
}

/// An address of a server that is not Discord's.
pub fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("`{text}` is no address: http://127.0.0.1:3001"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{text}` is no address: http://127.0.0.1:3001"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address is without a name and a password: it is printed".to_owned());
    }
    match is_refused(&url) {
        false => Ok(url),
        true => Err("Discord's terms forbid accounts of people that a program drives, so the army does not act there; \
                     use the sandbox, or a Discord-compatible server of your own"
            .to_owned()),
    }
}

/// Whether this is one of Discord's own hosts.
pub fn is_refused(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_lowercase();
    REFUSED
        .iter()
        .any(|name| host == *name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
}

/// Reads accounts: a name and a token a line. What is wrong is told by its line, never by its text.
pub fn read(path: &Path) -> anyhow::Result<Vec<Account>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("read the accounts in {}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Vec<Account>> {
    let mut accounts: Vec<Account> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, token] = words[..] else { bail!("line {number}: a line is a name and a token") };
        ensure!(accounts.iter().all(|known| known.name != name), "line {number}: {name} is there twice");
        ensure!(token != "Bot", "line {number}: people are not bots");
        accounts.push(Account { name: name.to_owned(), token: token.into() });
    }
    ensure!(!accounts.is_empty(), "there are none");
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn discords_own_hosts_are_refused_however_they_are_written() {
        for refused in [
            "https://discord.com",
            "https://canary.discord.com/api/v10",
            "https://DISCORD.COM./",
            "http://discordapp.com:8080",
            "http://user:secret@localhost",
            "wss://gateway.discord.gg",
            "https://gateway-us-east1-b.discord.gg",
            "ftp://localhost",
            "localhost",
        ] {
            assert!(address(refused).is_err(), "{refused}");
        }
        for accepted in ["http://127.0.0.1:3001", "https://discord.com.example.org", "https://notdiscord.com"]
        {
            assert!(address(accepted).is_ok(), "{accepted}");
        }
    }

    #[test]
    fn accounts_are_lines_and_never_shown() {
        let accounts = parse("# people\n\nann secret-1\n bob\tsecret-2\n").unwrap();
        let pairs: Vec<_> = accounts.iter().map(|one| (&*one.name, one.token.expose_secret())).collect();
        assert_eq!(pairs, [("ann", "secret-1"), ("bob", "secret-2")]);
        assert!(!format!("{accounts:?}").contains("secret"));
        for (text, told) in [
            ("ann", "line 1: a line is a name and a token"),
            ("ann s3cret more", "line 1: a line is a name and a token"),
            ("ann a\nann b", "line 2: ann is there twice"),
            ("# none", "there are none"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert_eq!(error, told);
        }
    }
}
