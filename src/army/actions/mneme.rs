//! What people do with mneme; writers record a promise.

use rand::Rng;
use serde_json::{Value, json};

use crate::army::action::{Action, Args, Outcome, Param, Ran, Stop};
use crate::army::promises::{Change, Told};
use crate::army::soldier::Soldier;
use crate::army::talk::{Door, Heard, Request};
use crate::army::wanted::{Wanted, shortened};

pub const ALL: &[&Action] = &[&REMEMBER, &RECALL, &FORGET, &SEARCH, &GIVE, &SHOW, &REMIND, &STATS, &HELP];

const DOOR: Param = Param::choice("door", &["prefix", "mention", "slash", "any"]).default("prefix");
const REPLY: Param = Param::sets("reply");

pub const REMEMBER: Action = Action {
    name: "memory.remember",
    about: "Teaches the bot something",
    params: &[Param::text("key"), Param::text("value"), DOOR, REPLY],
    run: |soldier, args| Box::pin(remember(soldier, args)),
};

pub const RECALL: Action = Action {
    name: "memory.recall",
    about: "Asks the bot for something",
    params: &[
        Param::text("key"),
        DOOR,
        Param::choice("missing", &["fail", "ok"])
            .default("fail")
            .about("What it means when the bot remembers nothing"),
        REPLY,
    ],
    run: |soldier, args| Box::pin(recall(soldier, args)),
};

pub const FORGET: Action = Action {
    name: "memory.forget",
    about: "Makes the bot forget something",
    params: &[Param::text("key"), DOOR, REPLY],
    run: |soldier, args| Box::pin(forget(soldier, args)),
};

pub const SEARCH: Action = Action {
    name: "memory.search",
    about: "Looks for something by its name",
    params: &[Param::text("text").default(""), DOOR, REPLY],
    run: |soldier, args| Box::pin(search(soldier, args)),
};

pub const GIVE: Action = Action {
    name: "sparkle.give",
    about: "Thanks somebody with a sparkle",
    params: &[Param::text("to").about("A person's name"), Param::text("reason").optional(), DOOR, REPLY],
    run: |soldier, args| Box::pin(give(soldier, args)),
};

pub const SHOW: Action = Action {
    name: "sparkle.show",
    about: "Asks how many sparkles somebody has",
    params: &[Param::text("who").optional().about("A person's name; else oneself"), DOOR, REPLY],
    run: |soldier, args| Box::pin(show(soldier, args)),
};

pub const REMIND: Action = Action {
    name: "remind.me",
    about: "Asks to be reminded",
    params: &[Param::text("time").about("As people say it: `in 2 minutes`"), Param::text("to"), DOOR, REPLY],
    run: |soldier, args| Box::pin(remind(soldier, args)),
};

pub const STATS: Action = Action {
    name: "stats.show",
    about: "Asks what is used",
    params: &[DOOR, REPLY],
    run: |soldier, args| Box::pin(stats(soldier, args)),
};

pub const HELP: Action = Action {
    name: "help",
    about: "Asks for help",
    params: &[Param::text("topic").optional(), DOOR, REPLY],
    run: |soldier, args| Box::pin(help(soldier, args)),
};

/// A command in the two forms in which it can be given.
struct Command<'a> {
    /// Behind the prefix or the mention.
    line: String,
    slash: (&'a str, Vec<(&'a str, Value)>),
}

async fn send(soldier: &mut Soldier, args: &Args, command: Command<'_>) -> Result<Request, Stop> {
    let door = match args.text("door") {
        "any" => ["prefix", "mention", "slash"][soldier.chance().random_range(0..3)],
        door => door,
    };
    let line = command.line.trim();
    match door {
        "mention" => soldier.tell(Door::Mention, line).await,
        "slash" => soldier.slash(command.slash.0, &command.slash.1).await,
        _ => {
            let prefix = soldier.stage().options.prefix.clone();
            soldier.tell(Door::Prefix, &format!("{prefix}{line}")).await
        }
    }
}

/// What a reply means, by the marks that the bot's answers begin with.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Answer,
    /// Nothing was done, because of what was asked.
    Refusal,
    /// Nothing was done, because the bot could not.
    Unreachable,
    /// Nobody knows.
    Unknown,
}

fn meaning(text: &str) -> Meaning {
    let starts = |marks: &[&str]| marks.iter().any(|mark| text.starts_with(mark));
    if starts(&["❌ I could not reach my memory"]) {
        Meaning::Unreachable
    } else if starts(&["❓", "❌ Something went wrong"]) {
        Meaning::Unknown
    } else if starts(&REFUSALS) {
        Meaning::Refusal
    } else {
        Meaning::Answer
    }
}

const REFUSALS: [&str; 12] = [
    "⚠",
    "ℹ️ ",
    "🤔",
    "⛔",
    "⏳",
    "❌",
    "🤖",
    "I am already remembering",
    "I already remember",
    "You can't",
    "Sorry, ",
    "This command is only",
];

/// A request that changes something: a promise, and then what became of it.
async fn change(soldier: &mut Soldier, args: &Args, command: Command<'_>, change: Change) -> Ran {
    let request = send(soldier, args, command).await?;
    let (server, event) = (soldier.persona()?.server, request.event().expect("it has one"));
    soldier.stage().ledger.asked(event, server, change);
    let heard = soldier.reply(&request, &Wanted::default()).await?;
    let text = heard.text().to_owned();
    let told = match meaning(&text) {
        Meaning::Answer => Told::Done,
        Meaning::Refusal | Meaning::Unreachable => Told::Refused(shortened(&text)),
        Meaning::Unknown => Told::Unknown(shortened(&text)),
    };
    soldier.stage().ledger.told(event, told);
    Ok(judge(&heard))
}

/// A request that changes nothing.
async fn question(soldier: &mut Soldier, args: &Args, command: Command<'_>) -> Result<Heard, Stop> {
    let request = send(soldier, args, command).await?;
    soldier.reply(&request, &Wanted::default()).await
}

/// A refusal is a failure; a bot that cannot reach its store is an error.
fn judge(heard: &Heard) -> Outcome {
    let text = heard.all_text();
    match meaning(&text) {
        Meaning::Answer => Outcome::succeed().set("reply", heard.value()),
        Meaning::Refusal => Outcome::fail(shortened(&text)).set("reply", heard.value()),
        Meaning::Unreachable | Meaning::Unknown => Outcome::error(without_reference(&text)),
    }
}

/// The reference is another one each time; without it the same errors are one.
fn without_reference(text: &str) -> String {
    let text = shortened(text);
    text.split(" (ref ").next().unwrap_or(&text).to_owned()
}

async fn remember(soldier: &mut Soldier, args: Args) -> Ran {
    let (key, value) = (args.text("key").to_owned(), args.text("value").trim().to_owned());
    let command = Command {
        line: format!("remember {key} is {value}"),
        slash: ("rem set", vec![("key", json!(key)), ("value", json!(value))]),
    };
    change(soldier, &args, command, Change::Memory { key: key.clone(), value: Some(value.clone()) }).await
}

async fn recall(soldier: &mut Soldier, args: Args) -> Ran {
    let key = args.text("key");
    let command = Command { line: format!("rem {key}"), slash: ("rem get", vec![("key", json!(key))]) };
    let heard = question(soldier, &args, command).await?;
    let missing = heard.text().starts_with("🤔 I couldn't remember anything");
    if missing && args.text("missing") == "ok" {
        return Ok(Outcome::succeed().set("reply", heard.value()));
    }
    Ok(judge(&heard))
}

async fn forget(soldier: &mut Soldier, args: Args) -> Ran {
    let key = args.text("key").to_owned();
    let command = Command { line: format!("forget {key}"), slash: ("forget", vec![("key", json!(key))]) };
    change(soldier, &args, command, Change::Memory { key: key.clone(), value: None }).await
}

async fn search(soldier: &mut Soldier, args: Args) -> Ran {
    let text = args.text("text");
    let options = if text.is_empty() { Vec::new() } else { vec![("text", json!(text))] };
    let command = Command { line: format!("rem search {text}"), slash: ("rem search", options) };
    Ok(judge(&question(soldier, &args, command).await?))
}

async fn give(soldier: &mut Soldier, args: Args) -> Ran {
    let to = soldier.find_person(args.text("to"))?;
    let reason = args.maybe_text("reason");
    let because = reason.map(|reason| format!(" for {reason}")).unwrap_or_default();
    let mut options = vec![("user", json!({ "user": to.to_string() }))];
    options.extend(reason.map(|reason| ("reason", json!(reason))));
    let command = Command { line: format!("sparkle <@{to}>{because}"), slash: ("sparkle", options) };
    change(soldier, &args, command, Change::Sparkle { to }).await
}

async fn show(soldier: &mut Soldier, args: Args) -> Ran {
    let who = match args.maybe_text("who") {
        Some(name) => soldier.find_person(name)?,
        None => soldier.persona()?.id,
    };
    let options = vec![("user", json!({ "user": who.to_string() }))];
    let command = Command { line: format!("show sparkles <@{who}>"), slash: ("sparkles show", options) };
    Ok(judge(&question(soldier, &args, command).await?))
}

async fn remind(soldier: &mut Soldier, args: Args) -> Ran {
    let (time, text) = (args.text("time"), args.text("to"));
    let command = Command {
        line: format!("remind me {time} to {text}"),
        slash: ("remind me", vec![("when", json!(time)), ("text", json!(text))]),
    };
    change(soldier, &args, command, Change::Reminder).await
}

async fn stats(soldier: &mut Soldier, args: Args) -> Ran {
    let command = Command { line: "stats".to_owned(), slash: ("stats bot", Vec::new()) };
    Ok(judge(&question(soldier, &args, command).await?))
}

async fn help(soldier: &mut Soldier, args: Args) -> Ran {
    let topic = args.maybe_text("topic");
    let options = topic.into_iter().map(|topic| ("command", json!(topic))).collect();
    let line = format!("help {}", topic.unwrap_or_default());
    Ok(judge(&question(soldier, &args, Command { line, slash: ("help", options) }).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_means_what_it_begins_with() {
        for (text, expected) in [
            ("✅ Ok <@1>, I'll remember `x` for you", Meaning::Answer),
            ("I am already remembering something for `x`:", Meaning::Refusal),
            ("❌ <@1> I couldn't find any matching sparkles for that user", Meaning::Refusal),
            ("❌ I could not reach my memory; nothing was changed (ref 7F3K)", Meaning::Unreachable),
            ("❓ I could not find out whether that was saved (ref 7F3K). Please look", Meaning::Unknown),
            ("a value", Meaning::Answer),
        ] {
            assert_eq!(meaning(text), expected, "{text}");
        }
        assert_eq!(without_reference("❌ Something went wrong (ref 7F3K)"), "❌ Something went wrong");
    }
}
