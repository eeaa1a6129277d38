//! Whom a text mentions, and whom it may ping.

use serde_json::Value;

use super::World;
use super::form::Form;
use super::model::{Id, Pings};
use super::permission::MENTION_EVERYONE;
use super::text;

/// What a text mentions, before anybody asks whether it may.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mentioned {
    pub users: Vec<Id>,
    pub roles: Vec<Id>,
    pub everyone: bool,
}

impl Mentioned {
    /// Reads `<@1>`, `<@!1>`, `<@&1>`, `@everyone` and `@here`; not inside code, where they ping nobody.
    pub fn read(content: &str) -> Self {
        let (mut found, mut rest) = (Self::default(), content);
        while let Some(at) = rest.find(['`', '<', '@']) {
            rest = &rest[at..];
            let length = if rest.starts_with('`') { code(rest) } else { found.mention(rest) };
            rest = &rest[length..];
        }
        found
    }

    /// Takes a mention from the beginning of `text`; tells how many bytes to go on.
    fn mention(&mut self, text: &str) -> usize {
        if text.starts_with("@everyone") || text.starts_with("@here") {
            self.everyone = true;
            return 1;
        }
        let Some(inner) = text.strip_prefix("<@") else { return 1 };
        let Some(end) = inner.find('>') else { return 1 };
        let (list, digits) = match inner[..end].strip_prefix('&') {
            Some(role) => (&mut self.roles, role),
            None => (&mut self.users, inner[..end].trim_start_matches('!')),
        };
        if let Ok(id) = digits.parse()
            && !list.contains(&id)
        {
            list.push(id);
        }
        1
    }
}

/// How long the code is that begins here; one if it never ends.
fn code(text: &str) -> usize {
    let fence = if text.starts_with("```") { "```" } else { "`" };
    let inner = &text[fence.len()..];
    inner.find(fence).map_or(1, |end| end + 2 * fence.len())
}

/// `allowed_mentions` of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Allowed {
    everyone: bool,
    users: Which,
    roles: Which,
    replied_user: bool,
}

/// All of a kind, or those that are named.
#[derive(Clone, Debug, PartialEq)]
enum Which {
    All,
    These(Vec<Id>),
}

impl Which {
    fn contains(&self, id: Id) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.contains(&id),
        }
    }
}

impl Allowed {
    /// What holds where a call says nothing, and for people.
    pub const EVERYTHING: Self =
        Self { everyone: true, users: Which::All, roles: Which::All, replied_user: true };

    /// The same, with or without a ping to whom it replies.
    pub fn with_reply(self, replied_user: bool) -> Self {
        Self { replied_user, ..self }
    }

    pub fn read(value: &Value, form: &mut Form) -> Self {
        if value.is_null() {
            return Self::EVERYTHING;
        }
        let parse = |kind: &str| value["parse"].as_array().is_some_and(|all| all.iter().any(|k| k == kind));
        let mut which = |kind: &str| {
            let named: Vec<Id> = value[kind].as_array().into_iter().flatten().filter_map(text::id).collect();
            if parse(kind) && !named.is_empty() {
                let message = format!("parse:[\"{kind}\"] and {kind}: [ids...] are mutually exclusive.");
                form.wrong("allowed_mentions", "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", message);
            }
            if parse(kind) { Which::All } else { Which::These(named) }
        };
        Self {
            users: which("users"),
            roles: which("roles"),
            everyone: parse("everyone"),
            replied_user: value["replied_user"].as_bool().unwrap_or(false),
        }
    }
}

impl World {
    /// Whom a message pings: those it mentions, within what the call allows and what the sender may.
    pub(super) fn pings(
        &self,
        sender: Id,
        channel: Id,
        content: &str,
        allowed: &Allowed,
        replied: Option<Id>,
    ) -> Pings {
        let mentioned = Mentioned::read(content);
        let many = self.may(sender, channel, MENTION_EVERYONE);
        let guild = self.channels.get(&channel).and_then(|c| c.guild).and_then(|id| self.guilds.get(&id));
        let role = |id: &Id| guild.and_then(|guild| guild.roles.get(id));
        let may_ping = |id: &Id| role(id).is_some_and(|role| many || role.mentionable);
        let mut users = mentioned.users;
        users.retain(|id| self.users.contains_key(id) && allowed.users.contains(*id));
        if let Some(author) = replied.filter(|author| allowed.replied_user && !users.contains(author)) {
            users.push(author);
        }
        let roles = mentioned.roles.into_iter().filter(|id| allowed.roles.contains(*id) && may_ping(id));
        Pings { users, roles: roles.collect(), everyone: mentioned.everyone && allowed.everyone && many }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_read_outside_code() {
        let read = Mentioned::read("<@1> <@!2> <@&3> <@1> `<@4>` ```\n@everyone``` <@x> <#5> `<@6> :)");
        assert_eq!(read, Mentioned { users: vec![1, 2, 6], roles: vec![3], everyone: false });
        assert!(Mentioned::read("hello @here").everyone);
    }
}
