//! A scope of fixed values, for tests of what reads one.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::Value;

use crate::army::spec::template::{Scope, dig};

pub(crate) struct Fixed {
    values: Value,
    lists: BTreeMap<String, Vec<Value>>,
    rng: StdRng,
}

pub(crate) fn fixed(values: Value) -> Fixed {
    Fixed { values, lists: BTreeMap::new(), rng: StdRng::seed_from_u64(7) }
}

impl Fixed {
    pub(crate) fn with_list(mut self, name: &str, values: Vec<Value>) -> Self {
        self.lists.insert(name.into(), values);
        self
    }
}

impl Scope for Fixed {
    fn value(&self, path: &[String]) -> Option<Value> {
        dig(&self.values, path).cloned()
    }

    fn list(&self, name: &str) -> Option<&[Value]> {
        self.lists.get(name).map(Vec::as_slice)
    }

    fn rng(&mut self) -> &mut dyn RngCore {
        &mut self.rng
    }

    fn now(&self) -> i64 {
        1_767_268_800_000
    }
}
