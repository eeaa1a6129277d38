//! Actions of asking: request, acknowledgement and reply are one measured action; and of expecting.

use serde_json::Value;

use crate::army::action::{Action, Args, Outcome, Param, Ran, Stop, Type};
use crate::army::actions::speak::{message_id, said};
use crate::army::soldier::Soldier;
use crate::army::spec::template::as_text;
use crate::army::talk::{Door, Heard, Request};
use crate::army::wanted::Wanted;

pub const ALL: &[&Action] =
    &[&ASK, &SLASH, &AUTOCOMPLETE, &CLICK, &CHOOSE, &SUBMIT, &EXPECT, &EXPECT_NONE, &WAIT_EVENT];

/// What a message must be like to be the one that is waited for.
pub const WANTED_PARAMS: &[Param] = &[
    Param::text("contains").optional(),
    Param::text("equals").optional(),
    Param::text("matches").optional().about("A regular expression"),
    Param::at_most_one(&["contains", "equals", "matches"]),
    Param::text("from").optional().about("Who says it; else the bot under test"),
    Param::text("in").optional().about("In which channel; else in that of the request"),
    Param::bool("ephemeral").optional(),
    Param::text("embed").optional().about("What the title, the text or a field of an embed contains"),
    Param::duration("within").default("10s"),
    Param::bool("loose").default("false").about("Whether any next message in the channel will do"),
    Param::into("into"),
    REPLY,
];

const WANTED: Param = Param::new("expect", Type::Record(WANTED_PARAMS)).optional();
const LAST: Param = Param::sets("last");
/// The reply: `text`, `id`, `author`, `latency_ms`, `ephemeral`, `embeds`, `components`.
const REPLY: Param = Param::sets("reply");
const ON: Param = Param::text("on").optional().about("The id of a message; else the last reply");

pub const ASK: Action = Action {
    name: "ask",
    about: "Says something and waits for the reply to it",
    params: &[
        Param::text("say").optional(),
        Param::text("mention").optional(),
        Param::text("dm").optional(),
        Param::one_of(&["say", "mention", "dm"]),
        WANTED,
        LAST,
        REPLY,
    ],
    run: |soldier, args| Box::pin(ask(soldier, args)),
};

pub const SLASH: Action = Action {
    name: "slash",
    about: "Uses a slash command",
    params: &[
        Param::text("command").about("With its group, as in `rem set`"),
        Param::new("options", Type::Map).optional(),
        WANTED,
        REPLY,
    ],
    run: |soldier, args| Box::pin(slash(soldier, args)),
};

pub const AUTOCOMPLETE: Action = Action {
    name: "autocomplete",
    about: "Types into an option of a slash command and takes what is offered",
    params: &[
        Param::text("command"),
        Param::text("option"),
        Param::text("typed").default(""),
        Param::into("into").about("The choices that are offered"),
    ],
    run: |soldier, args| Box::pin(autocomplete(soldier, args)),
};

pub const CLICK: Action = Action {
    name: "click",
    about: "Clicks a button",
    params: &[
        Param::text("label").optional(),
        Param::text("id").optional(),
        Param::one_of(&["label", "id"]),
        ON,
        WANTED,
        REPLY,
    ],
    run: |soldier, args| Box::pin(click(soldier, args)),
};

pub const CHOOSE: Action = Action {
    name: "choose",
    about: "Chooses from a menu",
    params: &[
        Param::text("menu").about("Its custom id or placeholder"),
        Param::new("values", Type::List),
        ON,
        WANTED,
        REPLY,
    ],
    run: |soldier, args| Box::pin(choose(soldier, args)),
};

pub const SUBMIT: Action = Action {
    name: "submit",
    about: "Sends the form that is open",
    params: &[Param::new("fields", Type::Map), WANTED, REPLY],
    run: |soldier, args| Box::pin(submit(soldier, args)),
};

pub const EXPECT: Action = Action {
    name: "expect",
    about: "Waits for a message of the bot",
    params: WANTED_PARAMS,
    run: |soldier, args| Box::pin(expect(soldier, args)),
};

pub const EXPECT_NONE: Action = Action {
    name: "expect_none",
    about: "Fails if the bot says anything in this time",
    params: &[Param::duration("within").default("1s")],
    run: |soldier, args| Box::pin(expect_none(soldier, args)),
};

pub const WAIT_EVENT: Action = Action {
    name: "wait_event",
    about: "Waits for an event of the gateway",
    params: &[
        Param::text("type").about("As Discord names it, in small letters: `message_create`"),
        Param::new("where", Type::Check).optional().about("On `event.*`"),
        Param::duration("within").default("10s"),
        Param::into("into"),
    ],
    run: |soldier, args| Box::pin(wait_event(soldier, args)),
};

/// What `expect` says, or that any reply will do.
fn wanted(args: &Args) -> Result<(Wanted, Option<String>), Stop> {
    match args.record("expect") {
        Some(expect) => Ok((Wanted::of(&expect)?, expect.maybe_text("into").map(str::to_owned))),
        None => Ok((Wanted::default(), None)),
    }
}

fn with_reply(outcome: Outcome, heard: &Heard, into: Option<&str>) -> Outcome {
    let outcome = outcome.set("reply", heard.value());
    match into {
        Some(name) => outcome.set(name, heard.text()),
        None => outcome,
    }
}

/// Waits for what a request is answered with.
async fn finish(soldier: &mut Soldier, request: &Request, args: &Args) -> Ran {
    let (wanted, into) = wanted(args)?;
    let heard = soldier.reply(request, &wanted).await?;
    Ok(with_reply(Outcome::succeed(), &heard, into.as_deref()))
}

async fn ask(soldier: &mut Soldier, args: Args) -> Ran {
    let doors = [("say", Door::Prefix), ("mention", Door::Mention), ("dm", Door::Direct)];
    let chosen = doors.into_iter().find_map(|(name, door)| Some((door, args.maybe_text(name)?)));
    let (door, line) = chosen.expect("one of the three is given");
    let request = soldier.tell(door, line).await?;
    let outcome = finish(soldier, &request, &args).await?;
    Ok(said(soldier, &request, line, outcome))
}

async fn slash(soldier: &mut Soldier, args: Args) -> Ran {
    let given = args.get("options").and_then(Value::as_object);
    let options: Vec<(&str, Value)> =
        given.into_iter().flatten().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let request = soldier.slash(args.text("command"), &options).await?;
    finish(soldier, &request, &args).await
}

async fn autocomplete(soldier: &mut Soldier, args: Args) -> Ran {
    let choices = soldier.complete(args.text("command"), args.text("option"), args.text("typed")).await?;
    Ok(match args.maybe_text("into") {
        Some(name) => Outcome::succeed().set(name, choices),
        None => Outcome::succeed(),
    })
}

async fn click(soldier: &mut Soldier, args: Args) -> Ran {
    let control = args.maybe_text("label").or(args.maybe_text("id")).expect("one of the two is given");
    let on = args.maybe_text("on").map(message_id).transpose()?;
    let request = soldier.press(control, on, Vec::new()).await?;
    finish(soldier, &request, &args).await
}

async fn choose(soldier: &mut Soldier, args: Args) -> Ran {
    let values = args.value("values").as_array().into_iter().flatten().map(as_text).collect();
    let on = args.maybe_text("on").map(message_id).transpose()?;
    let request = soldier.press(args.text("menu"), on, values).await?;
    finish(soldier, &request, &args).await
}

async fn submit(soldier: &mut Soldier, args: Args) -> Ran {
    let fields = args.value("fields").as_object().into_iter().flatten();
    let request = soldier.submit(fields.map(|(name, value)| (name.clone(), as_text(value)))).await?;
    finish(soldier, &request, &args).await
}

async fn expect(soldier: &mut Soldier, args: Args) -> Ran {
    let wanted = Wanted::of(&args)?;
    let heard = soldier.expect(&wanted).await?;
    Ok(with_reply(Outcome::succeed(), &heard, args.maybe_text("into")))
}

async fn expect_none(soldier: &mut Soldier, args: Args) -> Ran {
    let wanted = Wanted { within: args.duration("within"), ..Wanted::default() };
    match soldier.expect(&wanted).await {
        Ok(heard) => Err(Stop::Fail(format!("nothing was expected; seen: {:?}", heard.all_text()))),
        Err(Stop::Fail(_)) => Ok(Outcome::succeed()),
        Err(error) => Err(error),
    }
}

async fn wait_event(soldier: &mut Soldier, args: Args) -> Ran {
    let test = args.check("where").cloned();
    let found = soldier.event(args.text("type"), test, args.duration("within")).await?;
    Ok(match args.maybe_text("into") {
        Some(name) => Outcome::succeed().set(name, found),
        None => Outcome::succeed(),
    })
}
