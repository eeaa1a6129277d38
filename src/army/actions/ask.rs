//! Actions of asking: request, acknowledgement and reply are one measured action; and of expecting.

use crate::army::action::{Action, Param, Type};
use crate::army::actions::undone;

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
    run: undone,
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
    run: undone,
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
    run: undone,
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
    run: undone,
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
    run: undone,
};

pub const SUBMIT: Action = Action {
    name: "submit",
    about: "Sends the form that is open",
    params: &[Param::new("fields", Type::Map), WANTED, REPLY],
    run: undone,
};

pub const EXPECT: Action =
    Action { name: "expect", about: "Waits for a message of the bot", params: WANTED_PARAMS, run: undone };

pub const EXPECT_NONE: Action = Action {
    name: "expect_none",
    about: "Fails if the bot says anything in this time",
    params: &[Param::duration("within").default("1s")],
    run: undone,
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
    run: undone,
};
