//! [`Ask`]: what `.play` is asked to add, and where.

use crate::context::{Error, Result, channel, refuse};

/// The longest title or link that is kept.
pub const TEXT_MAX: usize = 500;

/// Where links may lead: these hosts and everything below them.
const HOSTS: [&str; 3] = ["youtube.com", "youtu.be", "soundcloud.com"];

pub const NOTHING: &str = "⚠ No arguments provided! - Use the `.play help` command for examples";

/// A song, and its place in the queue if one was named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    pub text: String,
    pub place: Option<usize>,
    pub channel: Option<u64>,
}

impl Ask {
    /// Reads `<url or text> [--queue n] [--channel id]`, the options anywhere.
    pub fn read(line: &str) -> Result<Self> {
        let mut ask = Self::default();
        let mut words = Vec::new();
        let mut rest = line.split_whitespace();
        while let Some(word) = rest.next() {
            match word {
                "--queue" => ask.place = Some(place(rest.next().unwrap_or_default())?),
                "--channel" => ask.channel = Some(channel_of(rest.next().unwrap_or_default())?),
                _ => words.push(word),
            }
        }
        ask.text = unquoted(&words.join(" ")).to_owned();
        ask.checked()
    }

    /// The same for what came in parts.
    pub fn checked(self) -> Result<Self> {
        let length = self.text.chars().count();
        if self.text.trim().is_empty() {
            return refuse(NOTHING);
        }
        if length > TEXT_MAX {
            return refuse(format!("⚠ That is {length} characters long; the limit is {TEXT_MAX}"));
        }
        match self.url() {
            Some(url) if !is_known(url) => {
                refuse("⚠ I can only queue links to youtube.com and soundcloud.com")
            }
            _ => Ok(self),
        }
    }

    /// The link, if it is one. What Discord is told not to preview stands in angle brackets.
    pub fn url(&self) -> Option<&str> {
        let inside = self.text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let text = inside.unwrap_or(&self.text);
        text.contains("://").then_some(text)
    }
}

fn place(word: &str) -> Result<usize> {
    word.parse().map_err(|_| Error::Usage("The place in the queue is a number, such as --queue 3".to_owned()))
}

fn channel_of(word: &str) -> Result<u64> {
    let usage = || Error::Usage("The channel is a mention or an id, such as --channel #music".to_owned());
    channel(word).ok_or_else(usage)
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text)
}

fn is_known(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    HOSTS.iter().any(|known| host.strip_suffix(known).is_some_and(|sub| sub.is_empty() || sub.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Ask {
        Ask::read(line).unwrap()
    }

    #[test]
    fn options_may_stand_anywhere() {
        let third = Ask { text: "lofi".into(), place: Some(3), channel: None };
        assert_eq!(read("lofi --queue 3"), third);
        assert_eq!(read("--queue 3 lofi"), third);
        let there = read("lofi --channel <#12345678901234567> beats");
        assert_eq!((there.text.as_str(), there.channel), ("lofi beats", Some(12_345_678_901_234_567)));
        assert_eq!(read("\"queue\"").text, "queue");
        for wrong in
            ["", "   ", "--queue 3", "lofi --queue", "lofi --queue x", "lofi --channel music", "\"\""]
        {
            assert!(Ask::read(wrong).is_err(), "{wrong}");
        }
        assert!(Ask::read(&"x".repeat(TEXT_MAX + 1)).is_err());
    }

    #[test]
    fn links_lead_to_known_places() {
        for known in [
            "https://www.youtube.com/watch?v=x",
            "http://youtu.be/x",
            "<https://soundcloud.com/a/b>",
            "https://M.YouTube.com/x",
        ] {
            assert!(read(known).url().is_some(), "{known}");
        }
        for other in [
            "https://example.com/",
            "https://youtube.com.example.com/x",
            "https://notyoutube.com/x",
            "https://youtube.com@example.com/",
            "file:///etc/passwd",
            "javascript://youtube.com/%0aalert(1)",
        ] {
            assert!(Ask::read(other).is_err(), "{other}");
        }
        assert_eq!(read("never gonna give you up").url(), None);
    }
}
