//! `--revert`: puts back what an adoption changed and nobody has changed since.

use std::path::Path;

use anyhow::Context;

use crate::clock::Timestamp;
use crate::dynamo::raw::{Swap, same_item};
use crate::dynamo::{Dynamo, Item, Token};

use super::journal;

/// What became of the steps of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reverted {
    /// Items that are as they were before.
    pub back: usize,
    /// Items that were so already.
    pub already: usize,
    /// Items that somebody has changed since, and what belongs to them: left as they are.
    pub kept: Vec<String>,
}

/// Takes an adoption back, its last step first. Running it again goes on where it was stopped.
pub async fn revert(dynamo: &Dynamo, path: &Path, now: Timestamp) -> anyhow::Result<Reverted> {
    let steps = journal::read(path)?;
    let mut reverted = Reverted::default();
    for (place, step) in steps.into_iter().enumerate().rev() {
        let back: Vec<Swap> = step.into_iter().map(Swap::reversed).collect();
        match state(dynamo, &back).await? {
            State::Done => reverted.already += back.len(),
            State::ToDo => {
                let token = Token::new(format!("revert-{}-{place}", now.millis()));
                super::swap(dynamo, token, &back).await.with_context(|| format!("step {}", place + 1))?;
                reverted.back += back.len();
            }
            State::Changed(swap) => reverted.kept.push(format!("{} {}", swap.table.name, name(&swap))),
        }
    }
    Ok(reverted)
}

enum State {
    Done,
    ToDo,
    Changed(Box<Swap>),
}

/// Whether all items of a step are as it left them, or as it found them.
async fn state(dynamo: &Dynamo, back: &[Swap]) -> anyhow::Result<State> {
    let same = |found: &Option<Item>, expected: &Option<Item>| match (found, expected) {
        (Some(found), Some(expected)) => same_item(found, expected),
        (None, None) => true,
        _ => false,
    };
    let (mut done, mut other) = (true, None);
    for swap in back {
        let found = dynamo.item(&swap.table, swap.key()).await?;
        done &= same(&found, &swap.after);
        if !same(&found, &swap.before) {
            other = Some(swap.clone());
        }
    }
    Ok(match other {
        _ if done => State::Done,
        None => State::ToDo,
        Some(swap) => State::Changed(Box::new(swap)),
    })
}

fn name(swap: &Swap) -> String {
    crate::dynamo::raw::to_json(&swap.key()).to_string()
}
