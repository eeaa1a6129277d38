//! `.help` and `.apropos`, generated from the registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::commands::{ALL, Registry, group};
use crate::context::{
    Answer, Args, Caller, Card, Choice, Command, Context, Door, Feature, Kind, Level, Param, Place, Reply,
    Result, Services, Typing, refuse,
};
use crate::markdown::code;
use crate::permissions::{self, Because};
use crate::settings::Settings;

pub const FEATURE: Feature = Feature {
    name: "help",
    commands: &[
        Command {
            prefix: &["help"],
            slash: &["help"],
            summary: "Show what I can do",
            offline: true,
            usage: "[command or group]",
            options: &[
                Param::optional("command", "A command or a group of them", Kind::Text).suggesting(suggest)
            ],
            private: true,
            run: |ctx, args| Box::pin(help(ctx, args)),
            ..Command::DEFAULT
        },
        Command {
            prefix: &["apropos"],
            summary: "Find commands by a word",
            offline: true,
            usage: "<word>",
            options: &[Param::required("word", "A word in a command's name or help", Kind::Text)],
            run: |ctx, args| Box::pin(apropos(ctx, args)),
            ..Command::DEFAULT
        },
    ],
    ..Feature::EMPTY
};

async fn help(ctx: Context, args: Args) -> Result<Answer> {
    let (forms, viewer) = (Forms::of(&ctx), Viewer::of(&ctx));
    let Some(topic) = args.maybe_text("command") else {
        return Ok(Answer::Reply(overview(&forms, &viewer).into()));
    };
    let topic = topic.trim().trim_start_matches('/');
    let topic = topic.strip_prefix(&*ctx.prefix).unwrap_or(topic).to_lowercase();
    match about(&forms, &topic, &viewer) {
        Some(card) => Ok(Answer::Reply(card.into())),
        None => refuse("⚠ That command is not defined."),
    }
}

/// The help of a group, also shown when somebody types its name alone.
pub fn of_group(ctx: &Context, name: &str) -> Reply {
    let card = about(&Forms::of(ctx), name, &Viewer::of(ctx));
    card.map_or_else(|| Reply::from(NOTHING_FOR_YOU), Reply::from)
}

async fn apropos(ctx: Context, args: Args) -> Result<Answer> {
    let Some(word) = args.maybe_text("word") else {
        return refuse(format!("Usage: {} search_term", ctx.typed("apropos")));
    };
    let (word, forms, viewer) = (word.trim().to_lowercase(), Forms::of(&ctx), Viewer::of(&ctx));
    let found = commands().filter(|command| mentions(command, &word) && viewer.may(command));
    let lines: Vec<String> = found.map(|command| forms.line(command)).collect();
    if lines.is_empty() {
        return refuse(format!("🤔 No command is about {}", code(&word)));
    }
    Ok(lines.join("\n").into())
}

fn mentions(command: &Command, word: &str) -> bool {
    let mut names = command.prefix.iter().chain(command.slash);
    command.summary.to_lowercase().contains(word) || names.any(|name| name.contains(word))
}

pub fn suggest(_: &Arc<Services>, typing: Typing<'_>) -> Vec<Choice> {
    let typed = typing.text.trim_start_matches(['.', '/']).to_lowercase();
    let names = commands().map(Command::name).filter(|name| name.contains(&typed));
    names.take(Choice::SHOWN_MAX).map(|name| Choice { label: name.into(), value: name.into() }).collect()
}

fn commands() -> impl Iterator<Item = &'static Command> {
    ALL.iter().flat_map(|feature| feature.commands)
}

/// Of a group of which somebody may use nothing.
const NOTHING_FOR_YOU: &str = "🤔 There is nothing here that you may use";

/// Who asks, and what the server allows them: help shows what they may use.
struct Viewer<'a> {
    caller: &'a Caller,
    settings: &'a Settings,
    in_server: bool,
}

impl<'a> Viewer<'a> {
    fn of(ctx: &'a Context) -> Self {
        Self { caller: &ctx.caller, settings: &ctx.settings, in_server: ctx.cause.server_id != 0 }
    }

    /// In a direct message the commands of servers are shown that everybody has there.
    fn may(&self, command: &Command) -> bool {
        if !self.in_server && command.place == Place::Server {
            return command.level == Level::Everyone;
        }
        permissions::decide(&self.settings.rules, command, self.caller).may
    }

    /// Why not, where it is not because of the level.
    fn rule_against(&self, command: &Command) -> Option<String> {
        let verdict = permissions::decide(&self.settings.rules, command, self.caller);
        let by_rule = !verdict.may && matches!(verdict.because, Because::Rule(_));
        by_rule.then(|| permissions::refusal(&self.settings.rules, command, command.level, &verdict.because))
    }
}

/// How commands can be called where the question was asked: forms of open doors only.
struct Forms {
    prefix: String,
    text: bool,
}

impl Forms {
    fn of(ctx: &Context) -> Self {
        let content = ctx.services.health.content_intent.load(Ordering::SeqCst);
        let text = content || ctx.door == Door::DirectMessage || ctx.door == Door::Mention;
        Self { prefix: ctx.prefix.to_string(), text }
    }

    fn call(&self, command: &Command) -> String {
        match (self.text, command.prefix.first(), command.slash.first()) {
            (true, Some(words), _) | (false, Some(words), None) => {
                format!("{}{words} {}", self.prefix, command.usage).trim_end().to_owned()
            }
            (_, _, Some(path)) => format!("/{path} {}", slash_usage(command)).trim_end().to_owned(),
            (_, None, None) => String::new(),
        }
    }

    fn line(&self, command: &Command) -> String {
        format!("{} {}", code(&self.call(command)), command.summary)
    }
}

fn slash_usage(command: &Command) -> String {
    let option = |o: &Param| if o.required { format!("<{}>", o.name) } else { format!("[{}]", o.name) };
    command.options.iter().map(option).collect::<Vec<_>>().join(" ")
}

fn overview(forms: &Forms, viewer: &Viewer<'_>) -> Card {
    let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for feature in ALL {
        // Some commands exist for one door only; the other form of the same thing has the line.
        let shown = feature
            .commands
            .iter()
            .filter(|c| if forms.text { !c.prefix.is_empty() } else { !c.slash.is_empty() })
            .filter(|c| viewer.may(c));
        let names: Vec<String> = shown.map(|command| code(&name_of(forms, command))).collect();
        sections.entry(feature.name).or_default().extend(names);
    }
    let lines: Vec<String> = sections
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(name, names)| format!("**{name}**: {}", names.join(" ")))
        .collect();
    let more = code(&format!("{}help <command>", if forms.text { forms.prefix.as_str() } else { "/" }));
    Card {
        title: "What I can do".into(),
        text: lines.join("\n"),
        footer: Some(format!("More about one: {}", more.trim_matches('`'))),
        ..Card::default()
    }
}

fn name_of(forms: &Forms, command: &Command) -> String {
    match (forms.text, command.prefix.first(), command.slash.first()) {
        (true, Some(words), _) => format!("{}{words}", forms.prefix),
        (_, _, Some(path)) => format!("/{path}"),
        (_, words, None) => format!("{}{}", forms.prefix, words.copied().unwrap_or_default()),
    }
}

fn about(forms: &Forms, topic: &str, viewer: &Viewer<'_>) -> Option<Card> {
    let named = |c: &&Command| c.prefix.contains(&topic) || c.slash.contains(&topic);
    let matching: Vec<&Command> = commands().filter(named).collect();
    if !matching.is_empty() {
        let text = matching.iter().map(|command| details(forms, command, viewer)).collect::<Vec<_>>();
        return Some(Card { title: topic.to_owned(), text: text.join("\n\n"), ..Card::default() });
    }
    let in_group = |c: &&Command| {
        c.prefix.iter().chain(c.slash).any(|words| group(words) == Some(topic))
            || ALL.iter().any(|f| f.name == topic && f.commands.iter().any(|own| std::ptr::eq(own, *c)))
    };
    let lines: Vec<String> =
        commands().filter(in_group).filter(|c| viewer.may(c)).map(|command| forms.line(command)).collect();
    (!lines.is_empty()).then(|| Card { title: topic.to_owned(), text: lines.join("\n"), ..Card::default() })
}

fn details(forms: &Forms, command: &Command, viewer: &Viewer<'_>) -> String {
    let mut lines = vec![command.summary.to_owned(), format!("Usage: {}", code(&forms.call(command)))];
    let also: Vec<String> = command
        .prefix
        .iter()
        .map(|words| format!("{}{words}", forms.prefix))
        .chain(command.slash.iter().map(|path| format!("/{path}")))
        .map(|form| code(&form))
        .collect();
    if also.len() > 1 {
        lines.push(format!("Forms: {}", also.join(" ")));
    }
    for option in command.options {
        lines.push(format!("- {}: {}", code(option.name), option.description));
    }
    if command.place == Place::Server {
        lines.push("In servers only".to_owned());
    }
    if let Some(needed) = command.level.needs() {
        let may = if viewer.may(command) { "you may" } else { "you may not" };
        lines.push(format!("Needs {needed}: {may}"));
    }
    if let Some(why) = viewer.rule_against(command) {
        lines.push(format!("You may not use it here: {why}"));
    }
    lines.join("\n")
}

/// All commands as a Markdown table, for the README.
pub fn table() -> String {
    let mut rows = String::from("| Command | Slash | What it does |\n|---|---|---|\n");
    for command in Registry::new(ALL).commands().chain(commands().filter(|c| c.prefix.is_empty())) {
        let text: Vec<String> = command
            .prefix
            .iter()
            .map(|words| format!("`.{words} {}`", command.usage).replace(" `", "`"))
            .collect();
        let slash: Vec<String> = command.slash.iter().map(|path| format!("`/{path}`")).collect();
        rows.push_str(&format!(
            "| {} | {} | {} |\n",
            text.join(" ").replace('|', "\\|"),
            slash.join(" "),
            command.summary
        ));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Rule, Subject};

    /// Tells what somebody sees who has this caller's rights in a server with these rules.
    fn seen<T>(caller: &Caller, rules: &[Rule], see: impl FnOnce(&Viewer<'_>) -> T) -> T {
        let settings = Settings { rules: rules.to_vec(), ..Settings::new(1) };
        see(&Viewer { caller, settings: &settings, in_server: true })
    }

    #[test]
    fn every_command_can_be_asked_about() {
        let forms = Forms { prefix: ".".into(), text: true };
        for command in commands() {
            let card = seen(&Caller::default(), &[], |viewer| about(&forms, command.name(), viewer)).unwrap();
            assert!(card.text.contains(command.summary), "{}", command.name());
            assert!(card.text.chars().count() <= 4_096);
        }
        assert_eq!(seen(&Caller::default(), &[], |viewer| about(&forms, "nonsense", viewer)), None);
    }

    #[test]
    fn help_shows_forms_of_open_doors_only() {
        let closed = Forms { prefix: ".".into(), text: false };
        let overview = |forms: &Forms| seen(&Caller::default(), &[], |viewer| overview(forms, viewer).text);
        assert!(overview(&closed).contains("`/ping`"));
        assert!(!overview(&closed).contains("`.ping`"));
        let open = Forms { prefix: "!".into(), text: true };
        assert!(overview(&open).contains("`!ping`"));
    }

    #[test]
    fn help_shows_what_one_may_use() {
        let forms = Forms { prefix: ".".into(), text: true };
        let deny = [Rule { allow: false, command: "mem".into(), subject: Subject::Everyone }];
        let see =
            |caller: &Caller, rules: &[Rule]| seen(caller, rules, |viewer| overview(&forms, viewer).text);
        let (anybody, admin) = (Caller::default(), Caller { admin: true, ..Caller::default() });
        assert!(
            !see(&anybody, &[]).contains("`.settings set`") && see(&admin, &[]).contains("`.settings set`")
        );
        assert!(!see(&admin, &[]).contains("`.reboot`"));
        assert!(see(&anybody, &[]).contains("`.mem list`") && !see(&anybody, &deny).contains("`.mem list`"));
        let group = seen(&anybody, &deny, |viewer| about(&forms, "mem", viewer));
        assert_eq!(group, None);
        let one = seen(&anybody, &deny, |viewer| about(&forms, "mem list", viewer)).unwrap();
        assert!(one.text.ends_with("You may not use it here: this server doesn't allow it"), "{}", one.text);
        let all = Caller { admin: true, moderator: true, bot_owner: true, ..Caller::default() };
        assert!(see(&all, &[]).chars().count() <= 4_096, "it fits a card");
    }

    #[test]
    fn apropos_looks_at_names_and_summaries() {
        let found: Vec<&str> = commands().filter(|c| mentions(c, "awake")).map(Command::name).collect();
        assert_eq!(found, ["ping"]);
    }
}
