//! `mneme army test`: the tests of tree files, side by side on one simulated Discord, each in a server and a
//! space of its own.
//!
//! A tree that fails, dies or does not end in time fails its test; so does a promise of the bot that is not
//! stored. What the simulated Discord did not expect of the bot fails them all: it cannot be said whose it is.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::stream::{self, StreamExt};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::army::action::Registry;
use crate::army::cli::UNUSABLE;
use crate::army::command::{Mouth, Test as Asked, seed};
use crate::army::discord::Discord;
use crate::army::library;
use crate::army::log::RunLog;
use crate::army::play::{Failure, Model, Plan, Play, Played, Strings};
use crate::army::schedule::Course;
use crate::army::show;
use crate::army::spec::compile::Given;
use crate::army::spec::program::Program;
use crate::army::spec::suite::{Suite, Test, compile};
use crate::army::stage::{Options, Stage};
use crate::clock::Clock;
use crate::dynamo::Dynamo;
use crate::dynamo::connect::{Store, StoreConfig, connect};
use crate::sandbox::{Sandbox, Settings};
use crate::shared::{self, SharedData, SharedOptions, Space};
use crate::tasks::Tasks;

/// Tests that run side by side: what one bot under test answers without hurrying.
const AT_ONCE: usize = 8;

/// What is before and after all tests may take this many times as long as one.
const ALL_FACTOR: u32 = 3;

/// As long as a test may take that does not say it.
const USUAL_TIMEOUT: Duration = Duration::from_secs(60);

/// A test that failed, or one of its parts.
const FAILED: i32 = 3;

/// How one test went.
struct Result {
    file: String,
    name: String,
    took: Duration,
    /// Why it failed.
    failure: Option<String>,
}

/// What all tests share.
struct Ground {
    discord: Discord,
    shared: SharedData,
    store: Dynamo,
    seed: u64,
    tasks: Tasks,
}

/// Runs the tests; the answer is the exit code.
pub async fn run(asked: &Asked, mouth: &Mouth<'_>) -> anyhow::Result<i32> {
    let (registry, mut suites) = (Registry::new(), Vec::new());
    for path in &asked.files {
        let shown = path.display().to_string();
        let file = match library::open(path, None, &registry) {
            Ok(file) => file,
            Err(error) => return Ok(unusable(mouth, &error.to_string())),
        };
        match compile(&file, &registry, &Given::complete(Map::new())) {
            Ok((suite, _)) => suites.push((shown, suite)),
            Err(faults) => return Ok(unusable(mouth, &library::told(&shown, &faults))),
        }
    }
    let seed = seed(asked.seed);
    (mouth.tell)(&format!("seed {seed}\n"));
    let mut sandbox = Sandbox::start(Settings { world_seed: seed, ..Settings::default() }).await?;
    let tasks = Tasks::new();
    let connected = connect(StoreConfig::new(Store::Memory)).await?;
    connected.dynamo.create_tables(shared::TABLES).await.context("create the table for shared data")?;
    let space = Space::Run("test".to_owned());
    let shared = SharedData::open(connected.dynamo.clone(), &tasks, space, SharedOptions::default());
    let discord = Discord::Simulated(sandbox.simulator.clone());
    let ground = Ground { discord, shared, store: connected.dynamo, seed, tasks: tasks.clone() };
    let (mut results, mut stages) = (Vec::new(), Vec::new());
    for (number, (file, suite)) in suites.iter().enumerate() {
        let (told, played) = ground.suite(number, file, suite, asked).await;
        results.extend(told);
        stages.extend(played);
    }
    let records = sandbox.simulator.take_records();
    let store = sandbox.stop_bot().await?;
    if let Some(store) = store {
        for stage in &stages {
            let verdict = stage.ledger.check(&store.dynamo).await.context("read what the bot has stored")?;
            results.extend(verdict.violations.iter().map(|violation| Result {
                file: "promises".to_owned(),
                name: stage.options.server.clone(),
                took: Duration::ZERO,
                failure: Some(violation.to_string()),
            }));
        }
    }
    results.extend(records.iter().map(|record| Result {
        file: "discord".to_owned(),
        name: "what the bot must not do".to_owned(),
        took: Duration::ZERO,
        failure: Some(record.to_string()),
    }));
    tasks.stop();
    tasks.wait(Duration::from_secs(10)).await;
    sandbox.end().await;
    tell(&results, asked.verbose, mouth);
    if let Some(path) = &asked.junit {
        std::fs::write(path, junit(&results)).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(if results.iter().any(|result| result.failure.is_some()) { FAILED } else { 0 })
}

fn unusable(mouth: &Mouth<'_>, what: &str) -> i32 {
    (mouth.tell)(&format!("{what}\n"));
    UNUSABLE
}

impl Ground {
    async fn suite(
        &self,
        number: usize,
        file: &str,
        suite: &Suite,
        asked: &Asked,
    ) -> (Vec<Result>, Vec<Arc<Stage>>) {
        let began = Instant::now();
        let all = self.stage(&format!("{} {number}", suite.name), 1);
        let before = match &suite.pre_all {
            Some(program) => self.part(&all, program, &Map::new(), USUAL_TIMEOUT * ALL_FACTOR).await,
            None => Ok(Map::new()),
        };
        let mut stages = vec![all.clone()];
        let mut results = match before {
            Ok(context) => {
                let chosen = suite.tests.iter().enumerate().filter(|(_, test)| is_asked_for(test, asked));
                let tests = chosen.map(|(place, test)| {
                    let stage = self.stage(&format!("{} {number}.{place}", suite.name), test.bots);
                    stages.push(stage.clone());
                    self.test(file, test, stage, context.clone())
                });
                stream::iter(tests.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await
            }
            Err(failure) => vec![Result {
                file: file.to_owned(),
                name: "pre_all".to_owned(),
                took: began.elapsed(),
                failure: Some(failure),
            }],
        };
        if let Some(program) = &suite.post_all
            && let Err(failure) = self.part(&all, program, &Map::new(), USUAL_TIMEOUT * ALL_FACTOR).await
        {
            let (file, name) = (file.to_owned(), "post_all".to_owned());
            results.push(Result { file, name, took: Duration::ZERO, failure: Some(failure) });
        }
        (results, stages)
    }

    fn stage(&self, server: &str, slots: u32) -> Arc<Stage> {
        let run_id = format!("test/{server}");
        let shared = self.shared.in_space(Space::Run(run_id.clone()));
        let (server, seed) = (server.to_owned(), self.seed);
        // Nobody thinks in a test.
        let options = Options { run_id, seed, server, slots, think_scale: 0.0, ..Options::default() };
        let (log, clock) = (RunLog::nowhere(Clock::system()), Clock::system());
        Stage::new(options, (shared, self.store.clone()), self.discord.clone(), clock, log, &self.tasks)
    }

    async fn test(&self, file: &str, test: &Test, stage: Arc<Stage>, context: Map<String, Value>) -> Result {
        let began = Instant::now();
        let mut failure = None;
        let mut known = context.clone();
        if let Some(pre) = &test.pre {
            match self.part(&stage, pre, &context, test.timeout).await {
                Ok(more) => known.extend(more),
                Err(why) => failure = Some(format!("pre: {why}")),
            }
        }
        if failure.is_none() {
            failure = self.played(&stage, &test.tree, test.bots, &known, test.timeout).await.err();
        }
        if let Some(post) = &test.post
            && let Err(why) = self.part(&stage, post, &known, test.timeout).await
        {
            failure.get_or_insert_with(|| format!("post: {why}"));
        }
        Result { file: file.to_owned(), name: test.name.clone(), took: began.elapsed(), failure }
    }

    /// One bot, for what is before and after; what it knew in the end.
    async fn part(
        &self,
        stage: &Arc<Stage>,
        program: &Program,
        context: &Map<String, Value>,
        within: Duration,
    ) -> std::result::Result<Map<String, Value>, String> {
        self.played(stage, program, 1, context, within).await.map(|played| played.context)
    }

    async fn played(
        &self,
        stage: &Arc<Stage>,
        program: &Program,
        bots: u32,
        context: &Map<String, Value>,
        within: Duration,
    ) -> std::result::Result<Played, String> {
        let strings = Strings::default();
        let plan = Plan {
            model: Model::Closed(Course::constant(bots.into())),
            iterations: Some(1),
            respawn: None,
            // A test that is over its time is not waited for.
            grace: Duration::from_secs(1),
            ..Plan::default()
        };
        let play = Play {
            stage: stage.clone(),
            program: Arc::new(program.clone()),
            plan,
            strings: strings.clone(),
            context: context.clone(),
            tasks: self.tasks.clone(),
        };
        let mut playing = Box::pin(play.run());
        let (played, in_time) = tokio::select! {
            played = &mut playing => (played, true),
            () = sleep(within) => {
                strings.stop.cancel();
                (playing.await, false)
            }
        };
        match &played.first_failure {
            Some(failure) => Err(told(failure)),
            None if !in_time => Err(format!("not done within {} s", within.as_secs())),
            None => Ok(played),
        }
    }
}

fn told(failure: &Failure) -> String {
    format!("bot on slot {}: {}\n    {}", failure.slot, failure.reason, failure.tail.join("\n    "))
}

fn is_asked_for(test: &Test, asked: &Asked) -> bool {
    let named = asked.filter.as_ref().is_none_or(|text| test.name.contains(text));
    named && asked.tag.as_ref().is_none_or(|tag| test.tags.contains(tag))
}

fn tell(results: &[Result], verbose: bool, mouth: &Mouth<'_>) {
    for result in results {
        let took = result.took.as_secs_f64();
        match &result.failure {
            Some(failure) => {
                (mouth.say)(&format!("FAIL {}: {} ({took:.1} s)\n  {failure}\n", result.file, result.name))
            }
            None if verbose => (mouth.say)(&format!("ok   {}: {} ({took:.1} s)\n", result.file, result.name)),
            None => {}
        }
    }
    let failed = results.iter().filter(|result| result.failure.is_some()).count();
    (mouth.say)(&format!("{} passed, {failed} failed\n", results.len() - failed));
}

/// As build servers read it.
fn junit(results: &[Result]) -> String {
    let failed = results.iter().filter(|result| result.failure.is_some()).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    writeln!(text, "<testsuite name=\"mneme army\" tests=\"{}\" failures=\"{failed}\">", results.len())
        .expect("a string takes everything");
    for result in results {
        let (file, name, took) = (escaped(&result.file), escaped(&result.name), result.took.as_secs_f64());
        write!(text, "  <testcase classname=\"{file}\" name=\"{name}\" time=\"{took:.3}\"")
            .expect("a string takes everything");
        match &result.failure {
            Some(failure) => {
                let first = escaped(failure.lines().next().unwrap_or_default());
                writeln!(text, "><failure message=\"{first}\">{}</failure></testcase>", escaped(failure))
            }
            None => writeln!(text, "/>"),
        }
        .expect("a string takes everything");
    }
    text.push_str("</testsuite>\n");
    text
}

/// XML has no way to write control characters.
fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
    show::escaped(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_does_not_break_the_xml() {
        let result = |failure: Option<&str>| Result {
            file: "a.yaml".into(),
            name: "<b> & \"c\"".into(),
            took: Duration::from_millis(1_500),
            failure: failure.map(str::to_owned),
        };
        let text = junit(&[result(None), result(Some("no\u{1} <reply>\nlog"))]);
        assert!(text.contains("tests=\"2\" failures=\"1\""), "{text}");
        assert!(text.contains("name=\"&lt;b&gt; &amp; &quot;c&quot;\" time=\"1.500\"/>"), "{text}");
        assert!(text.contains("message=\"no &lt;reply&gt;\">no &lt;reply&gt;\nlog</failure>"), "{text}");
    }
}
