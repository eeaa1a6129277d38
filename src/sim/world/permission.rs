//! Who may do what where.

use super::World;
use super::model::{ChannelKind, Guild, Id, Member};

pub const ADD_REACTIONS: u64 = 1 << 6;
pub const VIEW_CHANNEL: u64 = 1 << 10;
pub const SEND_MESSAGES: u64 = 1 << 11;
pub const SEND_TTS: u64 = 1 << 12;
pub const MANAGE_MESSAGES: u64 = 1 << 13;
pub const EMBED_LINKS: u64 = 1 << 14;
pub const ATTACH_FILES: u64 = 1 << 15;
pub const READ_MESSAGE_HISTORY: u64 = 1 << 16;
pub const MENTION_EVERYONE: u64 = 1 << 17;
pub const ADMINISTRATOR: u64 = 1 << 3;
pub const MANAGE_CHANNELS: u64 = 1 << 4;
pub const MANAGE_GUILD: u64 = 1 << 5;
pub const CHANGE_NICKNAME: u64 = 1 << 26;
pub const USE_APPLICATION_COMMANDS: u64 = 1 << 31;
pub const SEND_IN_THREADS: u64 = 1 << 38;
pub const MODERATE_MEMBERS: u64 = 1 << 40;

/// What somebody with Administrator holds: every bit that Discord has defined.
pub const ALL: u64 = (1 << 51) - 1;

/// What a new server gives to everyone; pinging everyone is left to those who are given it.
pub const EVERYONE: u64 = VIEW_CHANNEL
    | SEND_MESSAGES
    | SEND_IN_THREADS
    | EMBED_LINKS
    | ATTACH_FILES
    | READ_MESSAGE_HISTORY
    | ADD_REACTIONS
    | CHANGE_NICKNAME
    | USE_APPLICATION_COMMANDS;

/// What the bot is invited with.
pub const BOT: u64 = VIEW_CHANNEL
    | SEND_MESSAGES
    | SEND_IN_THREADS
    | EMBED_LINKS
    | ATTACH_FILES
    | READ_MESSAGE_HISTORY
    | ADD_REACTIONS;

/// A moderator's, as servers commonly hand them out.
pub const MODERATOR: u64 = MANAGE_MESSAGES | MODERATE_MEMBERS;

/// Between two people there are no roles: this is what both may do.
const DIRECT: u64 = EVERYONE | MENTION_EVERYONE;

impl World {
    /// What `user` may do in `channel`; 0 if they cannot even see it.
    pub fn permissions(&self, user: Id, channel: Id) -> u64 {
        let Some(channel) = self.channels.get(&channel) else { return 0 };
        let Some(guild) = channel.guild.and_then(|id| self.guilds.get(&id)) else {
            let takes_part = channel.recipient == Some(user) || user == self.application.id;
            return if takes_part { DIRECT } else { 0 };
        };
        let Some(member) = guild.members.get(&user) else { return 0 };
        let base = base(guild, member);
        if base == ALL {
            return ALL;
        }
        let ruling = channel.parent.and_then(|id| self.channels.get(&id)).unwrap_or(channel);
        let after = overwritten(base, guild.id, member, &ruling.overwrites);
        let timed_out = member.timed_out_until.is_some_and(|until| until > self.now);
        implied(after, channel.kind, timed_out)
    }

    /// What `user` may do in the guild, channels aside.
    pub fn guild_permissions(&self, user: Id, guild: Id) -> u64 {
        let Some(guild) = self.guilds.get(&guild) else { return 0 };
        guild.members.get(&user).map_or(0, |member| base(guild, member))
    }

    /// Whether `user` holds all of `wanted` in `channel`.
    pub(super) fn may(&self, user: Id, channel: Id, wanted: u64) -> bool {
        self.permissions(user, channel) & wanted == wanted
    }

    /// The permission to write there: threads have one of their own.
    pub(super) fn send_permission(&self, channel: Id) -> u64 {
        match self.channels.get(&channel).map(|channel| channel.kind) {
            Some(ChannelKind::Thread) => SEND_IN_THREADS,
            _ => SEND_MESSAGES,
        }
    }
}

fn base(guild: &Guild, member: &Member) -> u64 {
    if guild.owner == member.user {
        return ALL;
    }
    let roles = std::iter::once(&guild.id).chain(&member.roles);
    let held = roles.filter_map(|id| guild.roles.get(id)).fold(0, |held, role| held | role.permissions);
    if held & ADMINISTRATOR != 0 { ALL } else { held }
}

/// First @everyone, then the union of what the roles deny and allow, then the member.
fn overwritten(base: u64, everyone: Id, member: &Member, overwrites: &[super::model::Overwrite]) -> u64 {
    let mut held = base;
    for overwrite in overwrites.iter().filter(|o| !o.member && o.id == everyone) {
        held = held & !overwrite.deny | overwrite.allow;
    }
    let of_roles = || overwrites.iter().filter(|o| !o.member && member.roles.contains(&o.id));
    held &= !of_roles().fold(0, |denied, o| denied | o.deny);
    held |= of_roles().fold(0, |allowed, o| allowed | o.allow);
    for overwrite in overwrites.iter().filter(|o| o.member && o.id == member.user) {
        held = held & !overwrite.deny | overwrite.allow;
    }
    held
}

/// What a missing permission takes along.
fn implied(held: u64, kind: ChannelKind, timed_out: bool) -> u64 {
    if held & VIEW_CHANNEL == 0 {
        return 0;
    }
    if timed_out {
        return held & (VIEW_CHANNEL | READ_MESSAGE_HISTORY);
    }
    let send = if kind == ChannelKind::Thread { SEND_IN_THREADS } else { SEND_MESSAGES };
    if held & send == 0 {
        return held & !(SEND_TTS | EMBED_LINKS | ATTACH_FILES | MENTION_EVERYONE);
    }
    held
}

#[cfg(test)]
mod tests {
    use super::super::testing::Play;
    use super::*;
    use crate::sim::world::Overwrite;

    fn overwrite(id: Id, member: bool, allow: u64, deny: u64) -> Overwrite {
        Overwrite { id, member, allow, deny }
    }

    #[test]
    fn owners_and_administrators_may_everything() {
        let mut play = Play::new();
        assert_eq!(play.world.permissions(play.ann, play.cats), EVERYONE);
        let (ann, bob) = (play.ann, play.bob);
        play.zoo().owner(ann);
        let role = play.zoo().role("admin", ADMINISTRATOR);
        play.zoo().grant(bob, role);
        play.world.overwrite(play.cats, overwrite(play.zoo, false, 0, VIEW_CHANNEL));
        assert_eq!(play.world.permissions(play.ann, play.cats), ALL);
        assert_eq!(play.world.permissions(play.bob, play.cats), ALL);
    }

    #[test]
    fn overwrites_go_from_everyone_over_roles_to_the_member() {
        let mut play = Play::new();
        let (cats, ann) = (play.cats, play.ann);
        let (muted, loud) = (play.zoo().role("muted", 0), play.zoo().role("loud", 0));
        play.zoo().grant(ann, muted);
        play.zoo().grant(ann, loud);
        play.world.overwrite(cats, overwrite(play.zoo, false, 0, SEND_MESSAGES));
        assert!(!play.world.may(ann, cats, SEND_MESSAGES));
        // What one role allows wins over what another denies.
        play.world.overwrite(cats, overwrite(muted, false, 0, SEND_MESSAGES));
        play.world.overwrite(cats, overwrite(loud, false, SEND_MESSAGES, 0));
        assert!(play.world.may(ann, cats, SEND_MESSAGES));
        play.world.overwrite(cats, overwrite(ann, true, 0, SEND_MESSAGES));
        assert!(!play.world.may(ann, cats, SEND_MESSAGES));
        assert!(!play.world.may(ann, cats, ATTACH_FILES), "who cannot write cannot attach");
        play.world.overwrite(cats, overwrite(ann, true, 0, VIEW_CHANNEL));
        assert_eq!(play.world.permissions(ann, cats), 0);
    }

    #[test]
    fn a_timeout_leaves_reading() {
        let mut play = Play::new();
        let (ann, until) = (play.ann, play.now.plus(std::time::Duration::from_secs(60)));
        play.zoo().time_out(ann, Some(until));
        assert_eq!(play.world.permissions(ann, play.cats), VIEW_CHANNEL | READ_MESSAGE_HISTORY);
        play.wait(61.0);
        assert!(play.world.may(ann, play.cats, SEND_MESSAGES));
    }

    #[test]
    fn threads_follow_their_parent_with_a_permission_of_their_own() {
        let mut play = Play::new();
        let thread = play.world.thread(play.cats, "kittens").unwrap();
        play.world.overwrite(play.cats, overwrite(play.zoo, false, 0, SEND_IN_THREADS));
        let send = play.world.send_permission(thread);
        assert!(!play.world.may(play.ann, thread, send));
        assert!(play.world.may(play.ann, play.cats, SEND_MESSAGES));
    }

    #[test]
    fn strangers_see_nothing() {
        let mut play = Play::new();
        let eve = play.world.person("eve");
        assert_eq!(play.world.permissions(eve, play.cats), 0);
        let direct = play.world.direct(play.ann);
        assert_eq!(play.world.permissions(play.bob, direct), 0);
        assert!(play.world.may(play.ann, direct, SEND_MESSAGES));
    }
}
