//! The metrics document: what `GET /metrics`, `--json` and the report show, and what thresholds are decided by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the document; another one means that fields went or changed their meaning.
pub const SCHEMA: u32 = 1;

/// All that is known of a run. Durations are milliseconds; a percentile that nothing was measured for is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    pub schema: u32,
    pub run: Run,
    /// How many are alive now.
    pub bot_count: u64,
    pub target_bot_count: u64,
    /// With panics and errors outside of actions.
    pub total_error_count: u64,
    pub bots: Bots,
    pub actions: BTreeMap<String, Action>,
    /// By the text of the comparison.
    pub checks: BTreeMap<String, Tally>,
    pub errors: Vec<Trouble>,
    pub discord: Discord,
    pub shared: Shared,
    pub promises: Promises,
    pub generator: Generator,
    pub thresholds: Vec<Decided>,
    pub series: Vec<Second>,
    /// The slowest samples, slowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slowest: Vec<Sample>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            run: Run::default(),
            bot_count: 0,
            target_bot_count: 0,
            total_error_count: 0,
            bots: Bots::default(),
            actions: BTreeMap::new(),
            checks: BTreeMap::new(),
            errors: Vec::new(),
            discord: Discord::default(),
            shared: Shared::default(),
            promises: Promises::default(),
            generator: Generator::default(),
            thresholds: Vec::new(),
            series: Vec::new(),
            slowest: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    pub id: String,
    pub seed: u64,
    pub tree: String,
    pub tree_hash: String,
    /// `closed` or `open`.
    pub model: String,
    pub started: String,
    pub uptime_ms: u64,
    /// `idle`, `running`, `stopping`, `ended`.
    pub state: String,
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// The command line that repeats it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// Of the program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `sandbox`, `no-bot`, or the address of the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: i32,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bots {
    pub started: u64,
    pub finished: u64,
    pub errored: u64,
    pub panicked: u64,
    pub respawned: u64,
    /// Arrivals that found no free place.
    pub dropped: u64,
}

/// One row: an action, or a label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Action {
    pub runs: u64,
    pub avg_duration: f64,
    /// The same, under the older name.
    pub duration: f64,
    pub success_count: u64,
    pub fail_count: u64,
    pub continue_count: u64,
    pub error_count: u64,
    #[serde(flatten)]
    pub service: Percentiles,
    /// From the intended start to the reply, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Percentiles>,
    pub per_second: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Percentiles {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    pub pass: u64,
    pub fail: u64,
}

/// Errors of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    pub action: String,
    pub reason: String,
    pub count: u64,
    pub first_bot: u64,
    pub path: String,
    /// The last lines in the log of the bot that had it first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Discord {
    /// Interactions acknowledged after 3 s.
    pub ack_late: u64,
    pub http_429: u64,
    pub lost_ms: u64,
    pub reconnects: u64,
    pub events_per_second: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shared {
    pub ops: BTreeMap<String, u64>,
    /// Write and read units.
    pub wru: f64,
    pub rru: f64,
    pub conflicts: u64,
    pub lock: Lock,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lock {
    pub wait_p99: f64,
    pub hold_p99: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Promises {
    pub made: u64,
    pub kept: u64,
    pub broken: u64,
    pub unanswered: u64,
    /// They were not compared with the store.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// What was promised and what is stored instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
}

/// Whether the army itself was too slow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generator {
    pub lag_p99_ms: f64,
    /// A share of all cores.
    pub cpu: f64,
    pub saturated: bool,
}

/// A threshold and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decided {
    pub expr: String,
    /// `None`: nothing was measured.
    pub value: Option<f64>,
    pub ok: bool,
}

/// One point of the charts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Seconds since the start.
    pub t: u64,
    pub bots: u64,
    pub steps: u64,
    pub errors: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub http_429: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    pub action: String,
    pub ms: f64,
    pub bot: u64,
    pub path: String,
    /// Milliseconds since the start.
    pub at_ms: u64,
    pub outcome: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the user guide.
    const EXAMPLE: &str = r#"{ "schema": 1,
  "run": {"id": "r7", "seed": 42, "tree": "share_album", "tree_hash": "9f3c", "model": "closed", "started": "2026-01-01T12:00:00Z", "uptime_ms": 300000, "state": "running", "virtual": false},
  "bot_count": 97, "target_bot_count": 100, "total_error_count": 6,
  "bots": {"started": 106, "finished": 0, "errored": 5, "panicked": 1, "respawned": 6, "dropped": 0},
  "actions": {"memory.remember": {"runs": 812, "avg_duration": 41.3, "duration": 41.3, "success_count": 800, "fail_count": 9, "continue_count": 0, "error_count": 3,
      "min": 8.0, "p50": 33.0, "p90": 71.0, "p95": 95.0, "p99": 180.0, "p999": 402.0, "max": 611.0, "response": {"p50": 34.0, "p99": 190.0}, "per_second": 2.7}},
  "checks": {"reply.latency_ms < 3000": {"pass": 790, "fail": 2}},
  "errors": [{"action": "memory.remember", "reason": "no reply within 3 s", "count": 3, "first_bot": 17, "path": "root/6/do/1"}],
  "discord": {"ack_late": 0, "http_429": 12, "lost_ms": 5400, "reconnects": 1, "events_per_second": 310.5},
  "shared": {"ops": {"deal": 100}, "wru": 109.0, "rru": 41.0, "conflicts": 0, "lock": {"wait_p99": 12.0, "hold_p99": 4.0}},
  "promises": {"made": 800, "kept": 800, "broken": 0, "unanswered": 3},
  "generator": {"lag_p99_ms": 2.0, "cpu": 0.61, "saturated": false},
  "thresholds": [{"expr": "memory.recall:p(95)<300ms", "value": 210.0, "ok": true}],
  "series": [{"t": 1, "bots": 10, "steps": 31, "errors": 0, "p50": 30.0, "p95": 80.0, "p99": 120.0}] }"#;

    #[test]
    fn the_document_is_the_one_that_is_documented() {
        let document: Document = serde_json::from_str(EXAMPLE).unwrap();
        let written: serde_json::Value = serde_json::to_value(&document).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(EXAMPLE).unwrap());
    }
}
