//! Messages: made, edited, deleted, reacted to, by people and by the bot.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::draft::Draft;
use super::error::{self, Result};
use super::event::{Audience, News};
use super::intent;
use super::model::{
    Answers, Attachment, FLAG_EPHEMERAL, Id, Message, MessageKind, Pings, Reaction, Stored, Upload,
};
use super::permission::{
    ADD_REACTIONS, ATTACH_FILES, EMBED_LINKS, MANAGE_MESSAGES, MENTION_EVERYONE, READ_MESSAGE_HISTORY,
    VIEW_CHANNEL,
};
use super::record::RecordKind;
use super::{Request, Response, World, text};

/// The oldest message of a channel is dropped for the next one: a load run must not fill the memory.
pub const CHANNEL_MESSAGES_MAX: usize = 10_000;

/// All attachments together; the oldest are dropped, as Discord's links expire too.
const STORED_BYTES_MAX: usize = 128 * 1_024 * 1_024;

/// How long Discord recognises a nonce.
const NONCE_FOR: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// `GET messages` answers at most this many, and half of it if nobody says how many.
const PAGE_MAX: usize = 100;
const PAGE: usize = 50;

/// Discord takes 2 to 100 messages in one deletion.
const BULK_MAX: usize = 100;

/// A message before it has an id.
pub(super) struct NewMessage {
    pub channel: Id,
    pub author: Id,
    pub kind: MessageKind,
    pub content: String,
    pub flags: u64,
    pub nonce: Option<Value>,
    pub pings: Pings,
    pub embeds: Vec<Value>,
    pub components: Vec<Value>,
    pub uploads: Vec<Upload>,
    pub reply_to: Option<Id>,
    pub answers: Option<Answers>,
    pub only_for: Option<Id>,
}

impl NewMessage {
    pub fn new(channel: Id, author: Id, content: String) -> Self {
        Self {
            channel,
            author,
            kind: MessageKind::Default,
            content,
            flags: 0,
            nonce: None,
            pings: Pings::default(),
            embeds: Vec::new(),
            components: Vec::new(),
            uploads: Vec::new(),
            reply_to: None,
            answers: None,
            only_for: None,
        }
    }

    /// What the bot wrote, whether as a message or as an answer.
    pub fn of_bot(channel: Id, bot: Id, draft: Draft) -> Self {
        Self {
            flags: draft.flags,
            nonce: draft.nonce,
            embeds: draft.embeds.unwrap_or_default(),
            components: draft.components.unwrap_or_default(),
            uploads: draft.uploads,
            ..Self::new(channel, bot, draft.content.unwrap_or_default())
        }
    }
}

/// Which message was made with which nonce. Not sorted by time, so a queue beside it tells whom to forget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Nonces {
    by_text: BTreeMap<String, (Id, Id)>,
    in_order: VecDeque<(Id, String)>,
}

impl Nonces {
    fn insert(&mut self, nonce: String, channel: Id, message: Id) {
        self.in_order.push_back((message, nonce.clone()));
        self.by_text.insert(nonce, (channel, message));
    }

    fn forget_before(&mut self, oldest: Id) {
        while let Some((_, nonce)) = self.in_order.pop_front_if(|(message, _)| *message < oldest) {
            self.by_text.remove(&nonce);
        }
    }
}

impl World {
    pub(super) fn find_message(&self, channel: Id, message: Id) -> Option<&Message> {
        self.channels.get(&channel)?.messages.get(&message)
    }

    pub(super) fn message_mut(&mut self, channel: Id, message: Id) -> Option<&mut Message> {
        self.channels.get_mut(&channel)?.messages.get_mut(&message)
    }

    /// Puts a message into its channel and tells everybody who sees it.
    pub(super) fn post(&mut self, new: NewMessage) -> Id {
        let channel = new.channel;
        let id = self.put_message(new);
        self.tell_message("MESSAGE_CREATE", channel, id);
        id
    }

    /// Puts a message into its channel without a word.
    pub(super) fn put_message(&mut self, new: NewMessage) -> Id {
        let id = self.new_id();
        let attachments = new.uploads.into_iter().map(|upload| self.store(new.channel, upload)).collect();
        let message = Message {
            id,
            channel: new.channel,
            author: new.author,
            kind: new.kind,
            content: new.content,
            edited_at: None,
            flags: new.flags,
            nonce: new.nonce,
            pings: new.pings,
            embeds: new.embeds,
            components: new.components,
            attachments,
            reactions: Vec::new(),
            reply_to: new.reply_to,
            answers: new.answers,
            only_for: new.only_for,
        };
        if let Some(channel) = self.channels.get_mut(&message.channel) {
            channel.messages.insert(id, message);
            if channel.messages.len() > CHANNEL_MESSAGES_MAX {
                channel.messages.pop_first();
            }
        }
        id
    }

    fn store(&mut self, channel: Id, upload: Upload) -> Attachment {
        let id = self.new_id();
        let size = upload.bytes.len();
        let (name, content_type) = (upload.name, upload.content_type);
        let stored =
            Stored { channel, name: name.clone(), content_type: content_type.clone(), bytes: upload.bytes };
        self.files.insert(id, stored);
        self.stored_bytes += size;
        while self.stored_bytes > STORED_BYTES_MAX {
            let Some((_, dropped)) = self.files.pop_first() else { break };
            self.stored_bytes -= dropped.bytes.len();
        }
        Attachment { id, name, content_type, description: upload.description, size }
    }

    /// MESSAGE_CREATE or MESSAGE_UPDATE. The bot is not told of ephemeral messages, people not of one that
    /// still waits for its content.
    pub(super) fn tell_message(&mut self, name: &'static str, channel: Id, message: Id) {
        let Some(message) = self.find_message(channel, message) else { return };
        let data = self.message_event(message);
        let audience = match message.only_for {
            _ if message.is_loading() => None,
            Some(person) => Some(Audience::Person(person)),
            None => Some(Audience::Channel(channel)),
        };
        let to_bot = message.only_for.is_none();
        let readable = self.always_readable(message);
        let redacted = to_bot.then(|| {
            let replied = message.reply_to.and_then(|id| self.find_message(channel, id));
            let all_readable = readable && replied.is_none_or(|replied| self.always_readable(replied));
            (!all_readable).then(|| {
                let mut redacted = data.clone();
                self.redact(message, &mut redacted);
                redacted
            })
        });
        let intent = self.message_intent(channel);
        self.tell(News {
            audience,
            channel: Some(channel),
            redacted: redacted.flatten(),
            to_bot,
            ..News::new(name, intent, data)
        });
    }

    pub(super) fn message_intent(&self, channel: Id) -> u64 {
        if self.guild_of(channel).is_some() { intent::GUILD_MESSAGES } else { intent::DIRECT_MESSAGES }
    }

    /// Takes a message away and tells everybody who saw it.
    pub(super) fn remove_message(&mut self, channel: Id, message: Id) -> bool {
        let Some(found) = self.channels.get_mut(&channel).and_then(|c| c.messages.remove(&message)) else {
            return false;
        };
        for attachment in &found.attachments {
            if let Some(file) = self.files.remove(&attachment.id) {
                self.stored_bytes -= file.bytes.len();
            }
        }
        let mut data = json!({"id": message.to_string(), "channel_id": channel.to_string()});
        if let Some(guild) = self.guild_of(channel) {
            data["guild_id"] = json!(guild.to_string());
        }
        let audience = found.only_for.map_or(Audience::Channel(channel), Audience::Person);
        let news = News::new("MESSAGE_DELETE", self.message_intent(channel), data);
        self.tell(News {
            audience: Some(audience),
            channel: Some(channel),
            to_bot: found.only_for.is_none(),
            ..news
        });
        true
    }

    /// Adds or takes away one person's reaction; `false` if nothing changed.
    pub(super) fn set_reaction(&mut self, channel: Id, message: Id, user: Id, emoji: &str, on: bool) -> bool {
        let Some(found) = self.message_mut(channel, message) else { return false };
        let author = found.author;
        let position = found.reactions.iter().position(|reaction| reaction.emoji == emoji);
        let changed = match (position, on) {
            (Some(at), true) if !found.reactions[at].users.contains(&user) => {
                found.reactions[at].users.push(user);
                true
            }
            (Some(at), false) if found.reactions[at].users.contains(&user) => {
                found.reactions[at].users.retain(|other| *other != user);
                found.reactions.retain(|reaction| !reaction.users.is_empty());
                true
            }
            (None, true) => {
                found.reactions.push(Reaction { emoji: emoji.to_owned(), users: vec![user] });
                true
            }
            _ => false,
        };
        if changed {
            self.tell_reaction(channel, message, user, emoji, on, author);
        }
        changed
    }

    fn tell_reaction(&mut self, channel: Id, message: Id, user: Id, emoji: &str, on: bool, author: Id) {
        let guild = self.guild_of(channel);
        let mut data = json!({
            "user_id": user.to_string(),
            "channel_id": channel.to_string(),
            "message_id": message.to_string(),
            "emoji": super::render::emoji(emoji),
            "burst": false,
            "type": 0,
        });
        if let Some(guild) = guild {
            data["guild_id"] = json!(guild.to_string());
        }
        if on {
            data["message_author_id"] = json!(author.to_string());
            data["burst_colors"] = json!([]);
            if let Some(member) = guild.and_then(|guild| self.member_with_user(guild, user)) {
                data["member"] = member;
            }
        }
        let name = if on { "MESSAGE_REACTION_ADD" } else { "MESSAGE_REACTION_REMOVE" };
        let intent = if guild.is_some() { intent::GUILD_REACTIONS } else { intent::DIRECT_REACTIONS };
        self.tell(News {
            channel: Some(channel),
            audience: Some(Audience::Channel(channel)),
            ..News::new(name, intent, data)
        });
    }

    /// TYPING_START.
    pub(super) fn tell_typing(&mut self, channel: Id, user: Id) {
        let guild = self.guild_of(channel);
        let mut data = json!({
            "channel_id": channel.to_string(),
            "user_id": user.to_string(),
            "timestamp": self.now.seconds(),
        });
        if let Some(guild) = guild {
            data["guild_id"] = json!(guild.to_string());
            data["member"] = json!(self.member_with_user(guild, user));
        }
        let intent = if guild.is_some() { intent::GUILD_TYPING } else { intent::DIRECT_TYPING };
        let news = News::new("TYPING_START", intent, data);
        self.tell(News { channel: Some(channel), audience: Some(Audience::Channel(channel)), ..news });
    }
}

/// What the bot calls.
impl World {
    pub(super) fn create_message(&mut self, channel: Id, request: &Request) -> Result<Response> {
        self.may_bot(channel, self.send_permission(channel))?;
        self.record_unknown(request.route_name(), &request.body, &request.body);
        let draft = Draft::read(&request.body, &request.files)?;
        if let Some(earlier) = self.earlier(&draft) {
            return Ok(Response::json(200, earlier));
        }
        self.check_contents(channel, &draft)?;
        let reply_to = self.replied(channel, &draft)?;
        let author = reply_to.and_then(|id| self.find_message(channel, id)).map(|message| message.author);
        let bot = self.application.id;
        let content = draft.content.clone().unwrap_or_default();
        let pings = self.pings(bot, channel, &content, &draft.allowed, author);
        self.judge_pings(request.route_name(), channel, author, &pings, &request.body);
        let nonce = draft.nonce.clone().filter(|_| draft.enforce_nonce);
        let flags = draft.flags & !FLAG_EPHEMERAL;
        let kind = if reply_to.is_some() { MessageKind::Reply } else { MessageKind::Default };
        let new = NewMessage { pings, reply_to, kind, flags, ..NewMessage::of_bot(channel, bot, draft) };
        let id = self.post(new);
        if let Some(nonce) = nonce {
            self.nonces.insert(nonce.to_string(), channel, id);
        }
        Ok(self.message_response(channel, id))
    }

    pub(super) fn message_response(&self, channel: Id, message: Id) -> Response {
        match self.find_message(channel, message) {
            Some(message) => Response::json(200, self.message(message)),
            None => error::UNKNOWN_MESSAGE.into(),
        }
    }

    /// The message that was made with the same nonce a short time ago.
    fn earlier(&mut self, draft: &Draft) -> Option<Value> {
        self.nonces.forget_before(self.now.minus(NONCE_FOR).snowflake());
        let nonce = draft.nonce.as_ref().filter(|_| draft.enforce_nonce)?;
        let (channel, message) = *self.nonces.by_text.get(&nonce.to_string())?;
        Some(self.message(self.find_message(channel, message)?))
    }

    /// What a message in a channel needs beyond the permission to send.
    fn check_contents(&self, channel: Id, draft: &Draft) -> Result<()> {
        let bot = self.application.id;
        if let Some(recipient) = self.channels.get(&channel).and_then(|c| c.recipient)
            && self.users.get(&recipient).is_none_or(|user| user.closed_dms)
        {
            return Err(error::DM_CLOSED);
        }
        if draft.is_empty() {
            return Err(error::EMPTY_MESSAGE);
        }
        let embeds = draft.embeds.as_ref().is_some_and(|embeds| !embeds.is_empty());
        if embeds && !self.may(bot, channel, EMBED_LINKS) {
            return Err(error::MISSING_PERMISSIONS);
        }
        if !draft.uploads.is_empty() && !self.may(bot, channel, ATTACH_FILES) {
            return Err(error::MISSING_PERMISSIONS);
        }
        if draft.uploads.iter().any(|upload| upload.bytes.len() > super::draft::FILE_BYTES_MAX) {
            return Err(error::TOO_LARGE);
        }
        Ok(())
    }

    /// The message it replies to, if it is still there.
    fn replied(&self, channel: Id, draft: &Draft) -> Result<Option<Id>> {
        let Some(reference) = &draft.reply_to else { return Ok(None) };
        if !self.may(self.application.id, channel, READ_MESSAGE_HISTORY) {
            return Err(error::REPLY_WITHOUT_HISTORY);
        }
        let there = self.find_message(channel, reference.message).is_some_and(|m| m.only_for.is_none());
        if !there && reference.fail_if_not_exists {
            let mut form = super::form::Form::default();
            form.wrong("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message");
            form.finish()?;
        }
        Ok(there.then_some(reference.message))
    }

    /// A message that pings many is the doing of the person it answers; one who could not have pinged them
    /// must not be able to have the bot do it.
    pub(super) fn judge_pings(
        &mut self,
        call: &str,
        channel: Id,
        cause: Option<Id>,
        pings: &Pings,
        body: &Value,
    ) {
        let many = pings.everyone || !pings.roles.is_empty();
        let entitled = cause.is_some_and(|person| self.may(person, channel, MENTION_EVERYONE));
        if many && !entitled {
            let pinged = json!({"everyone": pings.everyone, "roles": text::ids(&pings.roles)});
            self.record(RecordKind::ForbiddenPing, call, body.clone(), pinged);
        }
    }

    pub(super) fn list_messages(&mut self, channel: Id, request: &Request) -> Result<Response> {
        self.may_bot(channel, 0)?;
        let bot = self.application.id;
        if !self.may(bot, channel, READ_MESSAGE_HISTORY) {
            return Ok(Response::json(200, json!([])));
        }
        let limit = request.query_number("limit").map_or(PAGE, |limit| limit as usize);
        if !(1..=PAGE_MAX).contains(&limit) {
            let mut form = super::form::Form::default();
            form.wrong("limit", "NUMBER_TYPE_MAX", "int value should be between 1 and 100.");
            form.finish()?;
        }
        let found = self.page(channel, request, limit);
        let values = found.into_iter().map(|message| self.as_bot_reads(message)).collect();
        Ok(Response::json(200, Value::Array(values)))
    }

    /// Newest first, as Discord answers. With `after`, the page begins with the oldest ones after it.
    fn page(&self, channel: Id, request: &Request, limit: usize) -> Vec<&Message> {
        let Some(channel) = self.channels.get(&channel) else { return Vec::new() };
        let public = |message: &&Message| message.only_for.is_none();
        if let Some(after) = request.query_number("after") {
            let later = channel.messages.range(after.saturating_add(1)..).map(|(_, message)| message);
            let mut page: Vec<_> = later.filter(public).take(limit).collect();
            page.reverse();
            return page;
        }
        let before = request.query_number("before").unwrap_or(Id::MAX);
        let earlier = channel.messages.range(..before).rev().map(|(_, message)| message);
        earlier.filter(public).take(limit).collect()
    }

    /// REST shows contents if the portal's switch is on, whatever the session asked for.
    fn as_bot_reads(&self, message: &Message) -> Value {
        let mut value = self.message(message);
        if self.application.intents & intent::MESSAGE_CONTENT == 0 {
            self.redact(message, &mut value);
        }
        value
    }

    pub(super) fn get_message(&mut self, channel: Id, message: Id) -> Result<Response> {
        self.may_bot(channel, READ_MESSAGE_HISTORY)?;
        let found = self.public_message(channel, message)?;
        Ok(Response::json(200, self.as_bot_reads(found)))
    }

    fn public_message(&self, channel: Id, message: Id) -> Result<&Message> {
        let found = self.find_message(channel, message).filter(|message| message.only_for.is_none());
        found.ok_or(error::UNKNOWN_MESSAGE)
    }

    pub(super) fn edit_message(&mut self, channel: Id, message: Id, request: &Request) -> Result<Response> {
        self.may_bot(channel, 0)?;
        if self.public_message(channel, message)?.author != self.application.id {
            return Err(error::NOT_THE_AUTHOR);
        }
        self.record_unknown(request.route_name(), &request.body, &request.body);
        let draft = Draft::read(&request.body, &request.files)?;
        self.apply_edit(channel, message, draft)?;
        Ok(self.message_response(channel, message))
    }

    /// Changes what the draft mentions. Nobody is pinged by an edit.
    pub(super) fn apply_edit(&mut self, channel: Id, message: Id, draft: Draft) -> Result<()> {
        self.change_message(channel, message, draft)?;
        self.tell_message("MESSAGE_UPDATE", channel, message);
        Ok(())
    }

    pub(super) fn change_message(&mut self, channel: Id, message: Id, draft: Draft) -> Result<()> {
        let bot = self.application.id;
        let content = draft.content.clone();
        let pings = content.map(|content| self.pings(bot, channel, &content, &draft.allowed, None));
        let added: Vec<_> = draft.uploads.into_iter().map(|upload| self.store(channel, upload)).collect();
        let now = self.now;
        let found = self.message_mut(channel, message).ok_or(error::UNKNOWN_MESSAGE)?;
        let mut changed = found.clone();
        if let Some(content) = draft.content {
            changed.content = content;
        }
        if let Some(pings) = pings {
            changed.pings = pings;
        }
        if let Some(embeds) = draft.embeds {
            changed.embeds = embeds;
        }
        if let Some(components) = draft.components {
            changed.components = components;
        }
        if let Some(kept) = draft.kept {
            changed.attachments.retain(|attachment| kept.contains(&attachment.id));
        }
        changed.attachments.extend(added);
        if changed.is_blank() {
            return Err(error::EMPTY_MESSAGE);
        }
        changed.edited_at = Some(now);
        *found = changed;
        Ok(())
    }

    pub(super) fn delete_message(&mut self, channel: Id, message: Id) -> Result<Response> {
        self.may_bot(channel, 0)?;
        let own = self.public_message(channel, message)?.author == self.application.id;
        if !own {
            self.may_bot(channel, MANAGE_MESSAGES)?;
        }
        self.remove_message(channel, message);
        Ok(Response::empty())
    }

    pub(super) fn delete_messages(&mut self, channel: Id, request: &Request) -> Result<Response> {
        self.may_bot(channel, MANAGE_MESSAGES)?;
        let ids: Vec<Id> =
            request.body["messages"].as_array().into_iter().flatten().filter_map(text::id).collect();
        let mut form = super::form::Form::default();
        form.between("messages", ids.len(), 2, BULK_MAX);
        form.finish()?;
        let there: Vec<Id> = ids.into_iter().filter(|id| self.public_message(channel, *id).is_ok()).collect();
        if let Some(found) = self.channels.get_mut(&channel) {
            found.messages.retain(|id, _| !there.contains(id));
        }
        let mut data = json!({"ids": text::ids(&there), "channel_id": channel.to_string()});
        if let Some(guild) = self.guild_of(channel) {
            data["guild_id"] = json!(guild.to_string());
        }
        let news = News::new("MESSAGE_DELETE_BULK", self.message_intent(channel), data);
        self.tell(News { channel: Some(channel), audience: Some(Audience::Channel(channel)), ..news });
        Ok(Response::empty())
    }

    pub(super) fn react(&mut self, channel: Id, message: Id, emoji: &str, on: bool) -> Result<Response> {
        self.may_bot(channel, READ_MESSAGE_HISTORY)?;
        let others = self.public_message(channel, message)?.reactions.iter().any(|r| r.emoji == emoji);
        if on && !others {
            self.may_bot(channel, ADD_REACTIONS)?;
        }
        if emoji.is_empty() || (emoji.is_ascii() && !emoji.contains(':')) {
            return Err(error::UNKNOWN_EMOJI);
        }
        self.set_reaction(channel, message, self.application.id, emoji, on);
        Ok(Response::empty())
    }

    pub(super) fn type_in(&mut self, channel: Id) -> Result<Response> {
        self.may_bot(channel, self.send_permission(channel))?;
        self.tell_typing(channel, self.application.id);
        Ok(Response::empty())
    }

    /// Whether the bot sees the channel and holds `wanted` there.
    pub(super) fn may_bot(&self, channel: Id, wanted: u64) -> Result<()> {
        if !self.channels.contains_key(&channel) {
            return Err(error::UNKNOWN_CHANNEL);
        }
        match self.permissions(self.application.id, channel) {
            held if held & VIEW_CHANNEL == 0 => Err(error::MISSING_ACCESS),
            held if held & wanted != wanted => Err(error::MISSING_PERMISSIONS),
            _ => Ok(()),
        }
    }
}

impl Message {
    /// Whether there is nothing to see in it.
    pub(super) fn is_blank(&self) -> bool {
        self.content.is_empty()
            && self.embeds.is_empty()
            && self.components.is_empty()
            && self.attachments.is_empty()
    }
}
