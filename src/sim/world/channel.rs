//! The routes below `/channels`: what the bot does with messages.

use std::time::Duration;

use serde_json::{Value, json};

use super::draft::{Draft, FILE_BYTES_MAX};
use super::error::{self, Result};
use super::event::{Audience, News};
use super::form::Form;
use super::message::NewMessage;
use super::model::{FLAG_EPHEMERAL, Id, Message, MessageKind, Pings};
use super::permission::{
    ADD_REACTIONS, ATTACH_FILES, EMBED_LINKS, MANAGE_MESSAGES, MENTION_EVERYONE, READ_MESSAGE_HISTORY,
    VIEW_CHANNEL,
};
use super::record::RecordKind;
use super::{Request, Response, World, intent, text};

/// How long Discord recognises a nonce.
const NONCE_FOR: Duration = Duration::from_secs(5 * 60);

/// `GET messages` answers at most this many, and half of it if nobody says how many.
const PAGE_MAX: usize = 100;
const PAGE: usize = 50;

/// Discord takes 2 to 100 messages in one deletion.
const BULK_MAX: usize = 100;

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
        if draft.uploads.iter().any(|upload| upload.bytes.len() > FILE_BYTES_MAX) {
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
            let mut form = Form::default();
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
            let mut form = Form::default();
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
        let value = self.message(message);
        if self.application.intents & intent::MESSAGE_CONTENT != 0 {
            return value;
        }
        self.redacted(message, &value).unwrap_or(value)
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
        let replied = self.replied_author(channel, message);
        let pings = content.map(|content| self.pings(bot, channel, &content, &draft.allowed, replied));
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

    /// The author of the message that this one replies to, if that pinged them.
    fn replied_author(&self, channel: Id, message: Id) -> Option<Id> {
        let found = self.find_message(channel, message)?;
        let author = self.find_message(channel, found.reply_to?)?.author;
        found.pings.users.contains(&author).then_some(author)
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
        let mut form = Form::default();
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

#[cfg(test)]
mod tests {
    use super::super::testing::{INTENTS, Play};
    use super::*;
    use crate::sim::world::Act;
    use crate::sim::world::permission::{EVERYONE, SEND_MESSAGES};

    #[test]
    fn the_same_nonce_makes_one_message() {
        let mut play = Play::new();
        let body = json!({"content": "hi", "nonce": "1-0", "enforce_nonce": true});
        let (status, first) = play.post(body.clone());
        assert_eq!((status, &first["nonce"]), (200, &json!("1-0")));
        // Also from another channel: nonces belong to the author.
        let dogs = play.zoo().channel("dogs");
        let (_, again) = play.call("POST", &format!("/channels/{dogs}/messages"), body.clone());
        assert_eq!(first["id"], again["id"]);
        assert_eq!(play.told("MESSAGE_CREATE").len(), 1);
        play.wait(301.0);
        assert_ne!(play.post(body).1["id"], first["id"]);
    }

    #[test]
    fn a_nonce_that_is_not_enforced_is_only_echoed() {
        let mut play = Play::new();
        let body = json!({"content": "hi", "nonce": 5});
        assert_ne!(play.post(body.clone()).1["id"], play.post(body).1["id"]);
    }

    #[test]
    fn sizes_are_refused_in_discords_words() {
        let mut play = Play::new();
        let (status, body) = play.post(json!({"content": "x".repeat(2_001)}));
        assert_eq!((status, &body["code"]), (400, &json!(50035)));
        assert_eq!(body["errors"]["content"]["_errors"][0]["message"], "Must be 2000 or fewer in length.");
        let (status, body) = play.post(json!({"content": "  "}));
        assert_eq!((status, &body["code"]), (400, &json!(50006)));
        let row = json!({"type": 1, "components": [
            {"type": 2, "style": 1, "label": "a", "custom_id": "same"},
            {"type": 2, "style": 1, "label": "b", "custom_id": "same"},
        ]});
        let (_, body) = play.post(json!({"content": "hi", "components": [row]}));
        let error = &body["errors"]["components"]["0"]["components"]["1"]["custom_id"]["_errors"][0];
        assert_eq!(error["code"], "COMPONENT_CUSTOM_ID_DUPLICATED");
        assert_eq!(play.world.records().len(), 3);
    }

    #[test]
    fn missing_permissions_have_their_codes() {
        let mut play = Play::new();
        play.world.revoke(SEND_MESSAGES);
        assert_eq!(play.post(json!({"content": "hi"})).1["code"], 50013);
        play.world.revoke(VIEW_CHANNEL);
        assert_eq!(play.post(json!({"content": "hi"})).1["code"], 50001);
        assert_eq!(play.call("POST", "/channels/5/messages", json!({"content": "hi"})).1["code"], 10003);
        let direct = play.world.direct(play.ann);
        play.world.close_dms(play.ann, true);
        assert_eq!(
            play.call("POST", &format!("/channels/{direct}/messages"), json!({"content": "hi"})).1["code"],
            50007
        );
    }

    #[test]
    fn a_reply_needs_the_message_and_the_history() {
        let mut play = Play::new();
        let missing = json!({"content": "hi", "message_reference": {"message_id": "5"}});
        let (status, body) = play.post(missing);
        assert_eq!((status, &body["code"]), (400, &json!(50035)));
        assert!(body["errors"]["message_reference"].is_object());
        let lenient =
            json!({"content": "hi", "message_reference": {"message_id": "5", "fail_if_not_exists": false}});
        assert_eq!(play.post(lenient).1["type"], 0);
        let said = play.say(play.ann, "hello");
        let reply = json!({"content": "hi", "message_reference": {"message_id": said.to_string()}});
        let (_, body) = play.post(reply.clone());
        assert_eq!((&body["type"], &body["referenced_message"]["content"]), (&json!(19), &json!("hello")));
        assert_eq!(body["mentions"][0]["username"], "ann");
        play.world.revoke(READ_MESSAGE_HISTORY);
        assert_eq!(play.post(reply).1["code"], 160002);
    }

    #[test]
    fn mentions_ping_within_what_is_allowed() {
        let mut play = Play::new();
        let content = format!("<@{}> and <@{}>", play.ann, play.bob);
        let (_, body) = play.post(json!({"content": content, "allowed_mentions": {"parse": []}}));
        assert_eq!(body["mentions"], json!([]));
        let one = json!({"parse": [], "users": [play.bob.to_string()], "roles": []});
        let (_, body) = play.post(json!({"content": content, "allowed_mentions": one}));
        assert_eq!(body["mentions"][0]["username"], "bob");
        assert_eq!(body["mentions"].as_array().unwrap().len(), 1);
        let both = json!({"parse": ["users"], "users": [play.bob.to_string()]});
        assert_eq!(play.post(json!({"content": content, "allowed_mentions": both})).0, 400);
    }

    #[test]
    fn a_ping_of_everyone_on_behalf_of_somebody_who_may_not_is_recorded() {
        let mut play = Play::new();
        let (zoo, cause) = (play.zoo, play.say(play.ann, ".say @everyone"));
        let body = json!({"content": "@everyone", "message_reference": {"message_id": cause.to_string()}});
        assert_eq!(play.post(body.clone()).1["mention_everyone"], false, "the bot may not either");
        assert!(play.world.take_records().is_empty());
        play.world.change_role(zoo, zoo, |role| role.permissions = EVERYONE);
        let bot = play.world.bot();
        let loud = play.zoo().role("loud", MENTION_EVERYONE);
        play.zoo().grant(bot, loud);
        assert_eq!(play.post(body).1["mention_everyone"], true);
        let kinds: Vec<RecordKind> = play.world.take_records().iter().map(|record| record.kind).collect();
        assert_eq!(kinds, [RecordKind::ForbiddenPing]);
    }

    #[test]
    fn authors_edit_and_moderators_delete() {
        let mut play = Play::new();
        let path = |play: &Play, id: &str| format!("/channels/{}/messages/{id}", play.cats);
        let theirs = play.say(play.ann, "hello").to_string();
        let own = play.post(json!({"content": "hi"})).1["id"].as_str().unwrap().to_owned();
        let theirs = path(&play, &theirs);
        let own = path(&play, &own);
        assert_eq!(play.call("PATCH", &theirs, json!({"content": "x"})).1["code"], 50005);
        let (_, edited) = play.call("PATCH", &own, json!({"content": "ho"}));
        assert_eq!(edited["content"], "ho");
        assert!(edited["edited_timestamp"].is_string());
        assert_eq!(play.told("MESSAGE_UPDATE").len(), 1);
        assert_eq!(play.call("DELETE", &theirs, Value::Null).1["code"], 50013);
        assert_eq!(play.call("DELETE", &own, Value::Null).0, 204);
        assert_eq!(play.call("DELETE", &own, Value::Null).1["code"], 10008);
        assert_eq!(play.told("MESSAGE_DELETE").len(), 1);
    }

    #[test]
    fn pages_go_backwards_and_forwards() {
        let mut play = Play::new();
        let ids: Vec<Id> = (0..5).map(|n| play.say(play.ann, &format!("{n}"))).collect();
        let mut page = |query: String| {
            let path = format!("/channels/{}/messages?{query}", play.cats);
            let (_, found) = play.call("GET", &path, Value::Null);
            found
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["content"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(page("limit=2".to_owned()), ["4", "3"]);
        assert_eq!(page(format!("limit=2&before={}", ids[2])), ["1", "0"]);
        assert_eq!(page(format!("limit=2&after={}", ids[1])), ["3", "2"]);
    }

    #[test]
    fn without_the_intent_contents_are_empty_except_where_the_bot_is_meant() {
        let mut play = Play::offline();
        play.identify(INTENTS & !intent::MESSAGE_CONTENT);
        let bot = play.world.bot();
        play.say(play.ann, "secret");
        play.say(play.ann, &format!("<@{bot}> open"));
        let own = play.post(json!({"content": "mine"})).1["id"].as_str().unwrap().parse().unwrap();
        for ping in [true, false] {
            let (text, reply_to, files) = (format!("reply {ping}"), Some(own), Vec::new());
            play.act(play.ann, Act::Say { channel: play.cats, text, reply_to, ping, files }).unwrap();
        }
        let direct = play.world.direct(play.ann);
        play.act(play.ann, Act::say(direct, "private")).unwrap();
        let contents: Vec<Value> = play.told("MESSAGE_CREATE").iter().map(|m| m["content"].clone()).collect();
        assert_eq!(contents, ["", &format!("<@{bot}> open"), "mine", "reply true", "", "private"]);
        assert_eq!(play.shown(play.bob, "MESSAGE_CREATE")[0]["content"], "secret");
        // REST asks the portal, not the session.
        let path = format!("/channels/{}/messages?limit=1", play.cats);
        assert_eq!(play.call("GET", &path, Value::Null).1[0]["content"], "reply false");
        play.world.portal(intent::MESSAGE_CONTENT, false);
        assert_eq!(play.call("GET", &path, Value::Null).1[0]["content"], "");
    }

    #[test]
    fn files_come_back_as_they_went() {
        let mut play = Play::new();
        let bytes = b"meow".to_vec();
        let (name, content_type) = ("a b.txt".to_owned(), "text/plain".to_owned());
        let file = super::super::Upload { index: 0, name, content_type, description: None, bytes };
        let path = format!("/channels/{}/messages", play.cats);
        let about = json!({"attachments": [{"id": 0, "description": "a cat"}]});
        let (_, message) = play.call_with_files("POST", &path, about, vec![file]);
        let attachment = &message["attachments"][0];
        assert_eq!((&attachment["size"], &attachment["description"]), (&json!(4), &json!("a cat")));
        let url = attachment["url"].as_str().unwrap().strip_prefix("http://sim").unwrap();
        assert!(url.ends_with("a%20b.txt"));
        assert_eq!(play.call("GET", url, Value::Null), (200, json!("meow")));
    }

    #[test]
    fn reactions_come_and_go() {
        let mut play = Play::new();
        let said = play.say(play.ann, "hello");
        let path = format!("/channels/{}/messages/{said}/reactions/%E2%9C%A8/@me", play.cats);
        assert_eq!(play.call("PUT", &path, Value::Null).0, 204);
        assert_eq!(play.shown(play.bob, "MESSAGE_REACTION_ADD")[0]["emoji"]["name"], "✨");
        assert_eq!(play.history(play.ann)[0]["reactions"][0]["count"], 1);
        assert_eq!(play.call("DELETE", &path, Value::Null).0, 204);
        assert_eq!(play.history(play.ann)[0].get("reactions"), None);
        let bad = format!("/channels/{}/messages/{said}/reactions/x/@me", play.cats);
        assert_eq!(play.call("PUT", &bad, Value::Null).1["code"], 10014);
    }

    #[test]
    fn what_is_not_modelled_is_refused_and_recorded() {
        let mut play = Play::new();
        assert_eq!(play.call("GET", "/guilds/1/bans", Value::Null).0, 501);
        play.post(json!({"content": "hi", "poll": {}}));
        let kinds: Vec<RecordKind> = play.world.take_records().iter().map(|record| record.kind).collect();
        assert_eq!(kinds, [RecordKind::Unmodelled, RecordKind::Unmodelled]);
    }
}
