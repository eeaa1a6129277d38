//! The doors for text: prefix, mention and direct message. Slash and controls arrive already named.

use crate::context::Door;

/// What a message may be addressed by, where it was written.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The server's prefix; `None` where it is not known, and then the door is closed: the default is no
    /// guess to make.
    pub prefix: Option<&'a str>,
    pub bot_id: u64,
    /// The role that Discord made for the bot in this server.
    pub bot_role_id: Option<u64>,
    pub direct: bool,
}

/// What a message says to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// The words behind the prefix or the mention.
    Words(Door, &'a str),
    /// The caller's `n`th last command once more.
    Again(usize),
    /// Not for us.
    Chat,
}

/// Finds the door that a message comes through.
pub fn enter<'a>(content: &'a str, address: &Address<'_>) -> Entry<'a> {
    let text = content.trim_start();
    if let Some(rest) = mentioned(text, address) {
        let rest = rest.trim_start_matches([',', ':']).trim_start();
        let bare = address.prefix.and_then(|prefix| rest.strip_prefix(prefix)).unwrap_or(rest);
        return Entry::Words(Door::Mention, bare.trim());
    }
    let behind = address.prefix.and_then(|prefix| text.strip_prefix(prefix));
    if address.direct {
        return Entry::Words(Door::DirectMessage, behind.unwrap_or(text).trim());
    }
    let (Some(behind), Some(prefix)) = (behind, address.prefix) else { return Entry::Chat };
    if let Some(n) = again(behind.trim_end(), prefix) {
        return Entry::Again(n);
    }
    // A letter must follow at once, so that "...", ".5 of it" and ". hello" stay chat.
    if behind.starts_with(char::is_alphabetic) {
        Entry::Words(Door::Prefix, behind.trim_end())
    } else {
        Entry::Chat
    }
}

/// `..` is the last command, `.3` the third last.
fn again(behind: &str, prefix: &str) -> Option<usize> {
    if behind == prefix {
        return Some(1);
    }
    let digits = behind.len() <= 2 && behind.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| behind.parse().ok()).flatten()
}

fn mentioned<'a>(text: &'a str, address: &Address<'_>) -> Option<&'a str> {
    let (inside, rest) = text.strip_prefix("<@")?.split_once('>')?;
    let id = |digits: &str| digits.parse::<u64>().ok();
    let ours = match inside.strip_prefix('&') {
        Some(role) => address.bot_role_id.is_some() && id(role) == address.bot_role_id,
        None => id(inside.strip_prefix('!').unwrap_or(inside)) == Some(address.bot_id),
    };
    ours.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Address<'_> =
        Address { prefix: Some("."), bot_id: 77, bot_role_id: Some(88), direct: false };

    #[test]
    fn the_prefix_needs_a_letter_behind_it() {
        assert_eq!(enter(".rem wifi", &SERVER), Entry::Words(Door::Prefix, "rem wifi"));
        assert_eq!(enter(".ärger", &SERVER), Entry::Words(Door::Prefix, "ärger"));
        for chat in ["...", ". rem wifi", ".5 of it", ".?", "", ".", "rem wifi", "?rem a is b"] {
            assert_eq!(enter(chat, &SERVER), Entry::Chat, "{chat}");
        }
        assert_eq!(enter("..", &SERVER), Entry::Again(1));
        assert_eq!(enter(".2", &SERVER), Entry::Again(2));
    }

    #[test]
    fn another_prefix_is_another_door() {
        for prefix in ["!", "?", "mn!"] {
            let address = Address { prefix: Some(prefix), ..SERVER };
            let text = format!("{prefix}rem a is b");
            assert_eq!(enter(&text, &address), Entry::Words(Door::Prefix, "rem a is b"));
            assert_eq!(enter(".rem a is b", &address), Entry::Chat);
        }
    }

    #[test]
    fn an_unknown_prefix_closes_only_its_own_door() {
        let address = Address { prefix: None, ..SERVER };
        assert_eq!(enter(".rem wifi", &address), Entry::Chat);
        assert_eq!(enter("<@77> rem wifi", &address), Entry::Words(Door::Mention, "rem wifi"));
    }

    #[test]
    fn a_mention_works_in_all_its_forms() {
        for text in
            ["<@77> rem wifi", "<@77>, rem wifi", "<@!77> .rem wifi", "<@&88>: rem wifi", "<@77>rem wifi"]
        {
            assert_eq!(enter(text, &SERVER), Entry::Words(Door::Mention, "rem wifi"), "{text}");
        }
        for chat in ["hey <@77> rem wifi", "<@78> rem wifi", "<@&77> rem wifi", "<#77> x"] {
            assert_eq!(enter(chat, &SERVER), Entry::Chat, "{chat}");
        }
    }

    #[test]
    fn in_a_direct_message_the_prefix_is_optional() {
        let direct = Address { direct: true, bot_role_id: None, ..SERVER };
        assert_eq!(enter("rem wifi", &direct), Entry::Words(Door::DirectMessage, "rem wifi"));
        assert_eq!(enter(".rem wifi", &direct), Entry::Words(Door::DirectMessage, "rem wifi"));
    }
}
