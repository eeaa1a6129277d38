//! Anybody may say anything: the bot neither stumbles nor says what Discord would refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mneme::commands::ALL;
use mneme::sim::{Act, Record};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::harness::{Person, rounds, seed, start};

const MESSAGES: usize = 2_000;
/// What one person says before waiting for the bot to have caught up.
const AT_A_TIME: usize = 25;
/// What Discord takes from people and from bots.
const TEXT_MAX: usize = 2_000;

/// Pieces that mean something to some parser on the way.
const PIECES: &[&str] = &[
    ".",
    "..",
    ". ",
    ".2",
    " is ",
    " Is ",
    " = ",
    " at ",
    "\"",
    "“",
    "”",
    "„",
    "«",
    "»",
    "`",
    "```",
    "``",
    "'",
    "#",
    "%",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\u{200b}",
    "\u{202e}",
    "\u{feff}",
    "\u{ad}",
    "\u{0}",
    "\u{7f}",
    "\u{301}",
    "\u{fe0f}",
    "@everyone",
    "@here",
    "<@",
    "<@!",
    "<@&",
    ">",
    "<#1>",
    "<t:1>",
    "<:a:1>",
    "https://example.com/?a=b#c",
    "[a](b)",
    "||",
    "**",
    "__",
    "> ",
    "-# ",
    "wifi",
    "tea",
    "a key",
    "0",
    "1",
    "-1",
    "99999999999999999999",
    "123456789012345678",
    "<@123456789012345678>",
    "2 days ago",
    "yesterday",
    "25:00",
    "👩‍👩‍👧‍👦",
    "ﬃ",
    "İ",
    "ß",
    "Å",
    "مرحبا",
    "שלום",
    "漢字",
    "\u{fffd}",
    "\u{10ffff}",
    "{}",
    "%s",
    "../../etc/passwd",
    "; DROP TABLE remember",
    "\\",
];

/// A message of pieces, of commands that exist, and of any characters there are.
fn message(rng: &mut StdRng, commands: &[&str], bot: u64) -> String {
    let mut text = match rng.random_range(0..10) {
        0..6 => format!(".{}", commands.choose(rng).expect("there are some")),
        6 => format!("<@{bot}> {}", commands.choose(rng).expect("there are some")),
        7 => ".".to_owned(),
        _ => String::new(),
    };
    let length = if rng.random_ratio(1, 8) { TEXT_MAX } else { rng.random_range(0..120) };
    while text.chars().count() < length {
        match rng.random_range(0..8) {
            0..4 => text.push_str(PIECES.choose(rng).expect("there are some")),
            4 => text.extend((0..rng.random_range(1..40)).map(|_| rng.random::<char>())),
            5 => text.extend((0..rng.random_range(1..300)).map(|_| rng.random_range(' '..='~'))),
            6 => text.push_str(commands.choose(rng).expect("there are some")),
            _ => text.push(' '),
        }
    }
    text.chars().take(TEXT_MAX).collect()
}

/// Counts the panics of this thread, on which the whole bot runs.
fn count_panics() -> Arc<AtomicUsize> {
    let (thread, count) = (std::thread::current().id(), Arc::<AtomicUsize>::default());
    let (counted, before) = (count.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == thread {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        before(panic);
    }));
    count
}

/// Says some things, and waits until the bot is through with them: one person's commands have an order.
async fn babble(person: &Person<'_>, rng: &mut StdRng, commands: &[&str], bot: u64) {
    let mut seen = person.watch();
    for _ in 0..AT_A_TIME {
        let text = message(rng, commands, bot);
        // People's clients send nothing that has nothing in it.
        person.act(Act::say(person.channel, text)).ok();
    }
    let last = person.say(&format!("<@{bot}> ping"));
    assert_eq!(person.answer_to(&mut seen, last).await.text(), "🟢 Pong!");
}

#[tokio::test]
async fn nothing_that_people_say_makes_the_bot_stumble() {
    let (mut rng, messages) = (StdRng::seed_from_u64(seed(4)), rounds(MESSAGES));
    let panics = count_panics();
    let stage = start().await;
    let commands: Vec<&str> =
        ALL.iter().flat_map(|feature| feature.commands).flat_map(|command| command.prefix).copied().collect();
    let bot = stage.discord.simulator.read(|world| world.bot());
    let people = [
        stage.discord.person("zoo", "cats", "ann"),
        stage.discord.person("zoo", "dogs", "bob"),
        stage.discord.person("farm", "cats", "mo"),
        stage.discord.person("farm", "dogs", "olga"),
        stage.discord.direct("bob"),
    ];
    for turn in 0..messages.div_ceil(AT_A_TIME) {
        babble(&people[turn % people.len()], &mut rng, &commands, bot).await;
    }
    assert_eq!(stage.bot.stop().await, mneme::bot::Exit::Asked);
    assert_eq!(panics.load(Ordering::SeqCst), 0, "the bot panicked");
    let heard: Vec<String> = people.iter().flat_map(all_heard).collect();
    println!("{messages} messages, {} answers", heard.len());
    let sorry = heard.iter().find(|answer| answer.contains("on my side"));
    assert_eq!(sorry, None);
    // Asking for somebody who is not there is how the bot finds out.
    let asks_for_a_member =
        |record: &Record| record.subject.starts_with("GET ") && record.subject.contains("/members/");
    stage.discord.end_despite(asks_for_a_member).await;
}

/// Everything the bot has said in a channel. What it may not say, too long or empty, the simulator refuses.
fn all_heard(person: &Person<'_>) -> Vec<String> {
    let (mut texts, mut before) = (Vec::new(), None);
    loop {
        let page = person.discord.simulator.messages(person.id, person.channel, before, 100);
        let Some(first) = page.first() else { return texts };
        before = Some(crate::harness::id(&first["id"]));
        let bots = page.iter().filter(|message| message["author"]["bot"] == true);
        texts.extend(bots.map(|message| message["content"].as_str().unwrap_or_default().to_owned()));
    }
}
