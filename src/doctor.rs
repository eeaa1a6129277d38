//! `mneme doctor`: tries each thing the bot needs and says what to do where one is missing.

use crate::bot::{self, Exit};
use crate::config;
use crate::run::{discord_settings, open_store};
use crate::tables;

/// What was found, or what to do.
type Finding = Result<String, String>;

/// Prints a line for each thing; asked to end only if the bot would work.
pub async fn examine(options: &config::Run) -> Exit {
    let mut findings = store(&options.store).await;
    findings.push(("Discord", discord(&options.discord).await));
    for (name, finding) in &findings {
        match finding {
            Ok(found) => println!("ok    {name}: {found}"),
            Err(remedy) => println!("FAIL  {name}: {remedy}"),
        }
    }
    if findings.iter().all(|(_, finding)| finding.is_ok()) {
        Exit::Asked
    } else {
        Exit::Operator("something is missing".into())
    }
}

async fn store(options: &config::Store) -> Vec<(&'static str, Finding)> {
    let connected = match open_store(options).await {
        Ok(connected) => connected,
        Err(error) => return vec![("store", Err(format!("{error:#}")))],
    };
    let embedded = connected.embedded.is_some();
    if embedded && let Err(error) = connected.dynamo.create_tables(&tables::all()).await {
        return vec![("store", Err(format!("{:#}", anyhow::Error::from(error))))];
    }
    let tables = match connected.dynamo.check_tables(&tables::all()).await {
        Ok(differences) if differences.is_empty() => Ok("as the bot needs them".to_owned()),
        Ok(differences) => Err(format!("{}. Try: mneme tables create", differences.join("; "))),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    };
    vec![("store", Ok(connected.description)), ("tables", tables)]
}

async fn discord(options: &config::Discord) -> Finding {
    match discord_settings(options) {
        None => Err("DISCORD_TOKEN is not set; the developer portal shows it under Bot".into()),
        Some(settings) => bot::examine(&settings).await,
    }
}
