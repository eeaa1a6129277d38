//! Every command, level and class of rules.

use super::*;
use crate::commands::ALL;

const ME: u64 = 100_000_000_000_000_001;
const ROLE: u64 = 100_000_000_000_000_002;
const CHANNEL: u64 = 100_000_000_000_000_003;
const PARENT: u64 = 100_000_000_000_000_004;

const CLASSES: [Subject; 5] = [
    Subject::Person(ME),
    Subject::Role(ROLE),
    Subject::Channel(CHANNEL),
    Subject::Channel(PARENT),
    Subject::Everyone,
];

fn caller(level: Level) -> Caller {
    Caller {
        id: ME,
        roles: vec![ROLE],
        channels: vec![CHANNEL, PARENT],
        moderator: matches!(level, Level::Moderator | Level::Admin),
        admin: level == Level::Admin,
        bot_owner: level == Level::BotOwner,
        ..Caller::default()
    }
}

const LEVELS: [Level; 4] = [Level::Everyone, Level::Moderator, Level::Admin, Level::BotOwner];

fn commands() -> impl Iterator<Item = &'static Command> {
    ALL.iter().flat_map(|feature| feature.commands)
}

fn rule(allow: bool, command: &str, subject: Subject) -> Rule {
    Rule { allow, command: command.into(), subject }
}

/// Whether the command is one of those by which rules are made, said another way than in the product.
fn is_kept(command: &Command) -> bool {
    let first = command.name().split(' ').next().unwrap_or_default();
    let slash = command.slash.iter().any(|path| path.starts_with("settings"));
    ["settings", "prefix", "allow", "deny", "rules", "help"].contains(&first) || slash
}

#[test]
fn one_rule_of_every_class_for_every_command_and_level() {
    for command in commands() {
        for level in LEVELS {
            let caller = caller(level);
            let without = decide(&[], command, &caller);
            assert_eq!(
                without,
                Verdict { may: caller.has(command.level), because: Because::Level(command.level) }
            );
            let names = command.prefix.iter().chain(command.slash).copied();
            let groups = names.clone().filter_map(crate::commands::group);
            for name in names.chain(groups).chain(["*"]) {
                for subject in CLASSES {
                    let denied = decide(&[rule(false, name, subject)], command, &caller);
                    let kept = caller.admin && is_kept(command);
                    assert_eq!(
                        denied.may,
                        kept && caller.has(command.level),
                        "{} {level:?} {subject:?}",
                        command.name()
                    );
                    let allowed = decide(&[rule(true, name, subject)], command, &caller);
                    let lifted = matches!(command.level, Level::Everyone | Level::Moderator);
                    assert_eq!(
                        allowed.may,
                        lifted || without.may,
                        "{} {level:?} {subject:?}",
                        command.name()
                    );
                }
                let others = [Subject::Person(ME + 9), Subject::Role(ME), Subject::Channel(ROLE)];
                for subject in others {
                    for allow in [true, false] {
                        assert_eq!(decide(&[rule(allow, name, subject)], command, &caller), without);
                    }
                }
            }
        }
    }
}

#[test]
fn the_first_class_decides_and_in_it_deny_beats_allow() {
    let command = crate::commands::named("mem lock").unwrap();
    let caller = caller(Level::Everyone);
    for (place, first) in CLASSES.iter().enumerate() {
        let same_class = |other: &Subject| std::mem::discriminant(other) == std::mem::discriminant(first);
        for later in CLASSES[place + 1..].iter().filter(|later| !same_class(later)) {
            for allow in [true, false] {
                let rules = [rule(!allow, "*", *later), rule(allow, "mem", *first)];
                assert_eq!(
                    decide(&rules, command, &caller),
                    Verdict { may: allow, because: Because::Rule(2) }
                );
            }
        }
        let both = [rule(true, "mem lock", *first), rule(false, "*", *first), rule(true, "mem", *first)];
        assert_eq!(decide(&both, command, &caller), Verdict { may: false, because: Because::Rule(2) });
    }
}

/// Chance: a set of rules says the same in any order, and a rule that is about nobody here changes nothing.
#[test]
fn the_order_of_rules_does_not_matter() {
    use rand::rngs::StdRng;
    use rand::seq::{IndexedRandom, SliceRandom};
    use rand::{Rng, SeedableRng};
    let seed = 7;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let all: Vec<&Command> = commands().collect();
    let names = ["*", "mem", "rem", "mem lock", "ping", "settings", "remember"];
    for _ in 0..2_000 {
        let command = *all.choose(&mut rng).unwrap();
        let caller = caller(*LEVELS.choose(&mut rng).unwrap());
        let mut rules: Vec<Rule> = (0..rng.random_range(0..8))
            .map(|_| {
                let subject = *CLASSES.choose(&mut rng).unwrap();
                rule(rng.random(), names.choose(&mut rng).unwrap(), subject)
            })
            .collect();
        let before = decide(&rules, command, &caller);
        if let Because::Rule(number) = before.because {
            let decisive = &rules[number - 1];
            assert!(decisive.command == "*" || command.is_of(&decisive.command));
            assert_eq!(decisive.allow, before.may);
        }
        assert!(before.may <= (caller.has(command.level) || command.level == Level::Moderator));
        rules.shuffle(&mut rng);
        rules.push(rule(rng.random(), "*", Subject::Person(1)));
        assert_eq!(decide(&rules, command, &caller).may, before.may);
    }
}

#[test]
fn every_control_menu_and_undo_belongs_to_a_command() {
    for feature in ALL {
        let controls = feature.controls.iter().filter_map(|control| control.command);
        let menus = feature.menus.iter().map(|menu| menu.command);
        for name in controls.chain(menus).chain(feature.undo.iter().map(|undo| undo.command)) {
            assert!(crate::commands::named(name).is_some(), "{} names {name}", feature.name);
        }
    }
    // Undo finds out what it takes back; nothing else may go without.
    let without = ALL.iter().flat_map(|feature| feature.controls).filter(|control| control.command.is_none());
    assert_eq!(without.map(|control| control.verb).collect::<Vec<_>>(), ["undo"]);
}

#[test]
fn refusals_name_the_rule() {
    let command = crate::commands::named("mem lock").unwrap();
    let nobody = caller(Level::Everyone);
    let refusal = |rules: Vec<Rule>, command: &'static Command| {
        let settings = Settings { rules, ..Settings::new(1) };
        check(command.into(), &nobody, &settings, true, ".").map_err(|error| error.to_string())
    };
    let no = |text: &str| Err(format!("⛔ You can't use `.mem lock` here: {text}"));
    assert_eq!(refusal(vec![], command), no("it needs Manage Messages"));
    assert_eq!(refusal(vec![rule(true, "mem", Subject::Role(ROLE))], command), Ok(()));
    let only = vec![rule(false, "mem", Subject::Everyone), rule(true, "mem lock", Subject::Role(5))];
    assert_eq!(refusal(only, command), no("this server allows it only for <@&5>"));
    let person = vec![rule(false, "*", Subject::Person(ME))];
    assert_eq!(refusal(person, command), no(&format!("this server doesn't allow it for <@{ME}>")));
    let channel = vec![rule(false, "*", Subject::Channel(PARENT))];
    assert_eq!(refusal(channel, command), no(&format!("this server doesn't allow it in <#{PARENT}>")));
    let in_server = check(command.into(), &nobody, &Settings::new(0), false, ".");
    assert_eq!(in_server.unwrap_err().to_string(), "Please run this command in a Discord channel, not a DM");
}
