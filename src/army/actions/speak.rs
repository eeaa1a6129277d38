//! Actions of speaking: they succeed when Discord has accepted what was said.

use crate::army::action::{Action, Args, Outcome, Param, Ran, Stop};
use crate::army::soldier::Soldier;
use crate::army::talk::{Door, Request, Said};
use crate::sim::{Act, Id};

pub const ALL: &[&Action] = &[&SAY, &MENTION, &DM, &REACT, &EDIT, &DELETE];

/// What was said last is in `last`.
const LAST: Param = Param::sets("last");
const ON: Param = Param::text("on").optional().about("The id of a message; else one's last");

pub const SAY: Action = Action {
    name: "say",
    about: "Says something in the channel",
    params: &[
        Param::text("text"),
        Param::text("channel").optional(),
        Param::text("reply_to").optional().about("The id of a message"),
        LAST,
    ],
    run: |soldier, args| Box::pin(say(soldier, args)),
};

pub const MENTION: Action = Action {
    name: "mention",
    about: "Says something to the bot, by mention",
    params: &[Param::text("text"), LAST],
    run: |soldier, args| Box::pin(mention(soldier, args)),
};

pub const DM: Action = Action {
    name: "dm",
    about: "Says something to the bot, by direct message",
    params: &[Param::text("text"), LAST],
    run: |soldier, args| Box::pin(dm(soldier, args)),
};

pub const REACT: Action = Action {
    name: "react",
    about: "Adds a reaction to a message",
    params: &[Param::text("emoji"), ON],
    run: |soldier, args| Box::pin(react(soldier, args)),
};

pub const EDIT: Action = Action {
    name: "edit",
    about: "Changes what was said",
    params: &[Param::text("text"), ON],
    run: |soldier, args| Box::pin(edit(soldier, args)),
};

pub const DELETE: Action = Action {
    name: "delete",
    about: "Deletes what was said",
    params: &[ON],
    run: |soldier, args| Box::pin(delete(soldier, args)),
};

/// What was said is in `last` from now on.
pub(super) fn said(soldier: &mut Soldier, request: &Request, text: &str, outcome: Outcome) -> Outcome {
    let author = soldier.persona.as_ref().map(|persona| persona.name.clone());
    let id = request.event().map(|id| id.to_string());
    let last = serde_json::json!({
        "id": id, "channel": request.channel.to_string(), "text": text, "author": author,
    });
    outcome.set("last", last)
}

/// The id in a text.
pub(super) fn message_id(text: &str) -> Result<Id, Stop> {
    text.parse().map_err(|_| Stop::Error(format!("{text:?} is no id of a message")))
}

async fn say(soldier: &mut Soldier, args: Args) -> Ran {
    let (text, reply_to) = (args.text("text"), args.maybe_text("reply_to").map(message_id).transpose()?);
    let channel = args.maybe_text("channel").map(|name| soldier.channel_named(name)).transpose()?;
    let request = soldier.say(channel, text, reply_to).await?;
    Ok(said(soldier, &request, text, Outcome::succeed()))
}

async fn mention(soldier: &mut Soldier, args: Args) -> Ran {
    tell(soldier, Door::Mention, args.text("text")).await
}

async fn dm(soldier: &mut Soldier, args: Args) -> Ran {
    tell(soldier, Door::Direct, args.text("text")).await
}

async fn tell(soldier: &mut Soldier, door: Door, text: &str) -> Ran {
    let request = soldier.tell(door, text).await?;
    Ok(said(soldier, &request, text, Outcome::succeed()))
}

/// Which message is meant: the one with this id, or one's last.
fn meant(soldier: &mut Soldier, args: &Args) -> Result<Said, Stop> {
    match args.maybe_text("on") {
        Some(text) => Ok(Said { channel: soldier.persona()?.channel, message: message_id(text)? }),
        None => soldier.said.ok_or_else(|| Stop::Fail("nothing has been said yet".to_owned())),
    }
}

async fn react(soldier: &mut Soldier, args: Args) -> Ran {
    let Said { channel, message } = meant(soldier, &args)?;
    let emoji = args.text("emoji").to_owned();
    soldier.act(Act::React { channel, message, emoji, remove: false }).await?;
    Ok(Outcome::succeed())
}

async fn edit(soldier: &mut Soldier, args: Args) -> Ran {
    let Said { channel, message } = meant(soldier, &args)?;
    soldier.act(Act::Edit { channel, message, text: args.text("text").to_owned() }).await?;
    Ok(Outcome::succeed())
}

async fn delete(soldier: &mut Soldier, args: Args) -> Ran {
    let Said { channel, message } = meant(soldier, &args)?;
    soldier.act(Act::Delete { channel, message }).await?;
    Ok(Outcome::succeed())
}
