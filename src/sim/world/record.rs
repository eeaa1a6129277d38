//! [`Record`]: what a test must not overlook.

use std::fmt;

use serde_json::Value;

use super::World;

/// Later ones are dropped: the first tell what went wrong, and a load run must not fill the memory.
const RECORDS_MAX: usize = 1_000;

/// Something the bot did that it should not have done, or that the simulator does not model.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub kind: RecordKind,
    /// The call, or the frame.
    pub subject: String,
    /// What was sent.
    pub request: Value,
    /// What was answered.
    pub response: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A route, a field or an opcode that is not modelled.
    Unmodelled,
    /// A call that was answered with 4xx.
    Refused,
    /// An interaction that was acknowledged after its time.
    LateAck,
    /// A ping of many that the person who caused the message could not have made.
    ForbiddenPing,
    /// The gateway closed the connection because of what came in.
    Closed,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: {}\n  sent: {}\n  answered: {}",
            self.kind, self.subject, self.request, self.response
        )
    }
}

impl World {
    pub(super) fn record(&mut self, kind: RecordKind, subject: &str, request: Value, response: Value) {
        if self.records.len() < RECORDS_MAX {
            self.records.push(Record { kind, subject: subject.to_owned(), request, response });
        }
    }

    /// What was recorded since this was last asked.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }
}
