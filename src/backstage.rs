//! [`Backstage`]: what happens behind an answer, step by step, for whoever looks.
//!
//! The playground's panel listens; nobody else does, and then a step costs one look at a counter. An event's
//! work runs within [`during`]; the steps told in there carry its id and how long it has lasted. What is told is
//! what people can see anyway, and what the store is sent: bodies, never headers, so no token and no key.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// Steps that a listener may be behind; one that is further behind misses some and is told how many.
const BEHIND_MAX: usize = 512;

/// Longer texts and longer lists are cut before they are told: the panel shows what happened, not all of it.
const TEXT_MAX: usize = 1_000;
const LIST_MAX: usize = 40;

/// One thing that happened on the way from an event to its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The event, as text: JavaScript cannot hold it as a number.
    pub event: String,
    /// Since the event arrived.
    pub after_ms: f64,
    pub what: &'static str,
    pub data: Value,
}

/// Where steps are told. Cloning gives another handle to the same place.
#[derive(Clone, Debug)]
pub struct Backstage(broadcast::Sender<Arc<Step>>);

impl Default for Backstage {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND_MAX))
    }
}

tokio::task_local! {
    static EVENT: (u64, Instant);
}

/// Runs the work for an event, so that the steps in it are told as its own.
pub async fn during<F: Future>(event: u64, work: F) -> F::Output {
    EVENT.scope((event, Instant::now()), work).await
}

impl Backstage {
    /// Whether a step that is told now would be heard.
    pub fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0 && EVENT.try_with(|_| ()).is_ok()
    }

    /// Tells a step of the event that is worked on; `data` is only made if somebody listens.
    pub fn tell(&self, what: &'static str, data: impl FnOnce() -> Value) {
        if self.0.receiver_count() == 0 {
            return;
        }
        let Ok((event, started)) = EVENT.try_with(|event| *event) else { return };
        let after_ms = started.elapsed().as_secs_f64() * 1_000.0;
        let step = Step { event: event.to_string(), after_ms, what, data: shortened(data()) };
        // Whoever listened may just have gone.
        let _ = self.0.send(Arc::new(step));
    }

    /// What is told from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Step>> {
        self.0.subscribe()
    }
}

/// The same without what is too long to be looked at.
fn shortened(value: Value) -> Value {
    match value {
        Value::String(text) => match text.char_indices().nth(TEXT_MAX) {
            Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()).into(),
            None => Value::String(text),
        },
        Value::Array(list) => {
            let more = list.len().saturating_sub(LIST_MAX);
            let mut list: Vec<Value> = list.into_iter().take(LIST_MAX).map(shortened).collect();
            if more > 0 {
                list.push(format!("… and {more} more").into());
            }
            list.into()
        }
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, shortened(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn steps_carry_their_event_and_are_made_for_listeners_only() {
        let backstage = Backstage::default();
        let unheard = || -> Value { panic!("nobody listens") };
        during(7, async { backstage.tell("store", unheard) }).await;
        let mut heard = backstage.listen();
        backstage.tell("store", unheard);
        during(7, async { backstage.tell("store", || json!({"n": 1})) }).await;
        let step = heard.try_recv().unwrap();
        assert_eq!((step.event.as_str(), step.what, &step.data), ("7", "store", &json!({"n": 1})));
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn what_is_long_is_cut() {
        let long = json!({"text": "ä".repeat(TEXT_MAX + 1), "list": vec![1; LIST_MAX + 2], "short": "kept"});
        let cut = shortened(long);
        assert!(cut["text"].as_str().unwrap().ends_with("… (1001 characters)"));
        assert_eq!(cut["list"].as_array().unwrap().len(), LIST_MAX + 1);
        assert_eq!(cut["list"][LIST_MAX], "… and 2 more");
        assert_eq!(cut["short"], "kept");
    }
}
