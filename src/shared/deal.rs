//! `deal`: each element of a list to one asker, and to the same asker the same element however often it asks.
//!
//! A list is stored in shards of 64 elements, immutable, each with a record that counts what is dealt and to
//! whom. An asker begins at a shard that follows from its name and goes on to the next where one is exhausted;
//! an exhausted shard stays so, and therefore a repeated walk meets its own claim first. What was given back
//! is dealt last. A `pool` (see `hold`) is for elements that come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::stream::{self, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::dynamo::{Commit, Token, Transaction};
use crate::shared::hub::{Hub, Settled, locked};
use crate::shared::items::{self, Back, Claimed, Claims, Deal, Place, Rule, Values};
use crate::shared::{Result, SharedData, SharedError, Who, stored, typed};

/// Elements of one list.
pub const LIST_MAX: usize = 10_000;

/// One element: 64 of them and their claims fit a record.
pub const ELEMENT_MAX: usize = 4 * 1_024;

/// Elements of one shard: a record that is written for each of them should stay near a kilobyte.
pub const SHARD: usize = 64;

/// Shards written at the same time while loading.
const WRITES_AT_ONCE: usize = 8;

/// What loading a list has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    Now,
    /// The same elements were loaded before.
    Already,
}

/// What a process knows about a list. All of it is immutable in the store, or only grows.
pub struct List {
    manifest: Deal,
    shards: Vec<tokio::sync::Mutex<Shard>>,
    values: Mutex<BTreeMap<usize, Arc<Vec<Value>>>>,
}

/// What is known of a shard. While it is locked, no other caller in this process writes it: so nobody asks a
/// shard that another one has just exhausted.
#[derive(Default)]
struct Shard {
    looked_at: bool,
    /// Who has which, once nothing is left: after that no name is added.
    exhausted: Option<BTreeSet<String>>,
}

/// Where an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    shard: usize,
    index: usize,
}

impl SharedData {
    fn deal_place(&self, list: &str) -> Result<Place> {
        self.place("deal/", list)
    }

    /// Loads a list, once. A load that was interrupted is completed by loading again.
    pub async fn deal_load<T: Serialize>(&self, list: &str, elements: &[T]) -> Result<Loaded> {
        let place = self.deal_place(list)?;
        if elements.len() > LIST_MAX {
            return Err(SharedError::TooLarge { limit: LIST_MAX });
        }
        let values =
            elements.iter().map(|element| stored(element, ELEMENT_MAX)).collect::<Result<Vec<_>>>()?;
        let (digest, size, shards) = (digest(&values), values.len(), values.len().div_ceil(SHARD));
        if let Some(there) = self.hub.look::<Deal>(&place).await? {
            return if there.digest == digest {
                Ok(Loaded::Already)
            } else {
                Err(SharedError::AlreadyLoaded)
            };
        }
        let expires_at = place.expires_at(self.hub.now());
        let writes = values.chunks(SHARD).enumerate().map(|(shard, values)| {
            let (values, claims) = (values.to_vec(), self.hub.shard_places(&place, &digest, shard));
            async move {
                let (values_at, claims_at) = claims;
                let values = Values { values, ..Values::at(&values_at, expires_at) };
                let size = values.values.len() as u64;
                self.hub.dynamo.put_if_absent(&values).await?;
                let claims = Claims { size, ..Claims::at(&claims_at, expires_at) };
                self.hub.dynamo.put_if_absent(&claims).await.map_err(SharedError::from)
            }
        });
        let written: Vec<Result<bool>> =
            stream::iter(writes).buffer_unordered(WRITES_AT_ONCE).collect().await;
        written.into_iter().collect::<Result<Vec<_>>>()?;
        let back_at = back_place(&place, &digest);
        self.hub.dynamo.put_if_absent(&Back::at(&back_at, expires_at)).await?;
        // Last: what is incomplete is not loaded.
        let manifest = Deal { size, shards, digest: digest.clone(), ..Deal::at(&place, expires_at) };
        if self.hub.dynamo.put_if_absent(&manifest).await? {
            return Ok(Loaded::Now);
        }
        match self.hub.look::<Deal>(&place).await? {
            Some(there) if there.digest == digest => Ok(Loaded::Already),
            _ => Err(SharedError::AlreadyLoaded),
        }
    }

    /// The element of this asker: the same however often it asks. `None`: nothing is left.
    pub async fn deal<T: DeserializeOwned>(&self, list: &str, who: &Who) -> Result<Option<T>> {
        let work = async {
            let (place, who) = (self.deal_place(list)?, who.checked()?);
            let known = self.hub.list(&place).await?;
            let Some(spot) = self.hub.deal(&place, &known, who).await? else { return Ok(None) };
            let values = self.hub.values(&place, &known, spot.shard).await?;
            values.get(spot.index).map(typed).transpose()
        };
        self.hub.booked("deal", work).await
    }

    /// Gives the element of this asker back, to be dealt again. `false`: it has none.
    pub async fn undeal(&self, list: &str, who: &Who) -> Result<bool> {
        let (place, who) = (self.deal_place(list)?, who.checked()?);
        let known = self.hub.list(&place).await?;
        match self.hub.claim_of(&place, &known, who).await? {
            Some(spot) => self.hub.give_back(&place, &known, who, spot).await,
            None => self.hub.give_back_again(&place, &known, who).await,
        }
    }
}

pub(super) fn digest(values: &[Value]) -> String {
    let mut digest = Sha256::new();
    for value in values {
        digest.update(value.to_string());
        digest.update([0]);
    }
    digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn back_place(place: &Place, digest: &str) -> Place {
    place.below("deal-back", digest)
}

/// FNV-1a: any spread will do, as long as it is the same in every process.
fn spread(who: &str) -> u64 {
    who.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn walk(who: &str, shards: usize) -> impl Iterator<Item = usize> {
    let first = if shards == 0 { 0 } else { (spread(who) % shards as u64) as usize };
    (0..shards).map(move |step| (first + step) % shards)
}

/// `<shard>/<index>/<nonce>`: the nonce tells one return of an element from an earlier one.
fn returned(spot: Spot, nonce: &str) -> String {
    format!("{}/{}/{nonce}", spot.shard, spot.index)
}

fn spot_of(text: &str) -> Option<Spot> {
    let mut parts = text.split('/').map(str::parse);
    Some(Spot { shard: parts.next()?.ok()?, index: parts.next()?.ok()? })
}

impl Hub {
    fn shard_places(&self, place: &Place, digest: &str, shard: usize) -> (Place, Place) {
        let rest = format!("{digest}/{shard:03}");
        (place.below("deal-values", &rest), place.below("deal-claims", &rest))
    }

    pub(super) async fn list(&self, place: &Place) -> Result<Arc<List>> {
        if let Some(list) = locked(&self.lists).get(place) {
            return Ok(list.clone());
        }
        let manifest: Option<Deal> = self.look(place).await?;
        let manifest = manifest.ok_or(SharedError::NotLoaded)?;
        let shards = (0..manifest.shards).map(|_| tokio::sync::Mutex::default()).collect();
        let list = Arc::new(List { manifest, shards, values: Mutex::default() });
        let mut lists = locked(&self.lists);
        if lists.len() >= LISTS_MAX {
            lists.clear();
        }
        Ok(lists.entry(place.clone()).or_insert(list).clone())
    }

    async fn values(&self, place: &Place, list: &List, shard: usize) -> Result<Arc<Vec<Value>>> {
        if let Some(values) = locked(&list.values).get(&shard) {
            return Ok(values.clone());
        }
        let (values_at, _) = self.shard_places(place, &list.manifest.digest, shard);
        let values: Option<Values> = self.look_cheaply(&values_at).await?;
        let values = Arc::new(values.ok_or(SharedError::NotLoaded)?.values);
        locked(&list.values).insert(shard, values.clone());
        Ok(values)
    }

    async fn deal(&self, place: &Place, list: &List, who: &str) -> Result<Option<Spot>> {
        for _ in 0..ASKED_MAX {
            if let Asked::Told(spot) = self.ask(place, list, who).await? {
                return Ok(spot);
            }
        }
        Err(SharedError::Unknown)
    }

    async fn ask(&self, place: &Place, list: &List, who: &str) -> Result<Asked> {
        for shard in walk(who, list.manifest.shards) {
            let mut known = list.shards[shard].lock().await;
            let (_, claims_at) = self.shard_places(place, &list.manifest.digest, shard);
            if !known.looked_at {
                let claims: Option<Claims> = self.dynamo.get_eventually(claims_at.key()).await?;
                known.note(claims.as_ref());
            }
            if known.exhausted.as_ref().is_some_and(|names| !names.contains(who)) {
                continue;
            }
            let update = items::deal(&claims_at, self.now(), who);
            match self.settle(&claims_at, update, |claims| claims.claims.contains_key(who)).await? {
                Settled::Done(claims) => {
                    known.note(Some(&claims));
                    let index = self.keep(&claims_at, &claims, who).await?;
                    let spot = index.map(|index| Spot { shard, index: index as usize });
                    return Ok(spot.map_or(Asked::Again, |spot| Asked::Told(Some(spot))));
                }
                Settled::Refused { found, .. } => known.note(found.as_ref()),
            }
        }
        let back_at = back_place(place, &list.manifest.digest);
        let update = items::deal_returned(&back_at, self.now(), who);
        match self.settle(&back_at, update, |back| back.claims.contains_key(who)).await? {
            Settled::Done(back) => {
                let text = self.keep(&back_at, &back, who).await?;
                Ok(text.map_or(Asked::Again, |text| Asked::Told(spot_of(&text))))
            }
            Settled::Refused { .. } => Ok(Asked::Told(None)),
        }
    }

    /// What this asker has, for sure: a request of an earlier give-back, maybe of an earlier life, can no longer
    /// take it away. `None`: one just has.
    async fn keep<T: Claimed>(&self, at: &Place, record: &T, who: &str) -> Result<Option<T::Element>> {
        let has = record.claims().get(who);
        let giving = record.giving().get(who).filter(|_| !Rule::AskerKeeps.is_broken());
        let Some(nonce) = giving else { return Ok(has.cloned()) };
        let kept = |record: &T| record.claims().get(who) == has && !record.giving().contains_key(who);
        match self.settle(at, items::keep(who, nonce), kept).await? {
            Settled::Done(_) => Ok(has.cloned()),
            Settled::Refused { .. } => Ok(None),
        }
    }

    /// Tells that this is about to be given back. `false`: it is not this asker's any more.
    async fn announce<T: Claimed>(
        &self,
        at: &Place,
        who: &str,
        has: &T::Element,
        nonce: &str,
    ) -> Result<bool> {
        let ours = |record: &T| record.giving().get(who).is_some_and(|there| there == nonce);
        let settled = self.settle(at, items::announce::<T>(who, has, nonce), ours).await?;
        Ok(matches!(settled, Settled::Done(_)))
    }

    /// The claim of this asker in a shard.
    async fn claim_of(&self, place: &Place, list: &List, who: &str) -> Result<Option<Spot>> {
        for shard in walk(who, list.manifest.shards) {
            let (_, claims_at) = self.shard_places(place, &list.manifest.digest, shard);
            let claims: Claims = self.look(&claims_at).await?.unwrap_or_default();
            if let Some(index) = claims.claims.get(who) {
                return Ok(Some(Spot { shard, index: *index as usize }));
            }
            // It would have got one here.
            if claims.next < claims.size {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Moves an element from its shard to the returned ones.
    async fn give_back(&self, place: &Place, list: &List, who: &str, spot: Spot) -> Result<bool> {
        let digest = &list.manifest.digest;
        let (_, claims_at) = self.shard_places(place, digest, spot.shard);
        let nonce = self.nonce();
        if !self.announce::<Claims>(&claims_at, who, &(spot.index as u64), &nonce).await? {
            return Ok(false);
        }
        let transaction = Transaction::new(Token::new(nonce.clone()))
            .upsert(claims_at.key(), items::unclaim::<Claims>(who, &nonce))
            .upsert(back_place(place, digest).key(), items::take_back(returned(spot, "0")));
        match self.dynamo.transact(transaction).await? {
            Commit::Done | Commit::Repeated => Ok(true),
            Commit::Blocked(_) => Ok(false),
        }
    }

    /// Gives back what had been returned before.
    async fn give_back_again(&self, place: &Place, list: &List, who: &str) -> Result<bool> {
        let back_at = back_place(place, &list.manifest.digest);
        let back: Back = self.look(&back_at).await?.unwrap_or_default();
        let Some((text, spot)) = back.claims.get(who).and_then(|text| Some((text, spot_of(text)?))) else {
            return Ok(false);
        };
        let nonce = self.nonce();
        if !self.announce::<Back>(&back_at, who, text, &nonce).await? {
            return Ok(false);
        }
        let again = returned(spot, if Rule::ReturnsDiffer.is_broken() { "0" } else { &nonce });
        let update = items::take_back_again(who, &nonce, again.clone());
        let ours =
            |back: &Back| back.back.contains(&again) || back.claims.values().any(|claimed| *claimed == again);
        match self.settle(&back_at, update, ours).await? {
            Settled::Done(_) => Ok(true),
            // It is not this asker's any more: by an own attempt, given on since, or by somebody else's.
            Settled::Refused { doubtful, .. } => Ok(doubtful),
        }
    }
}

/// What somebody is told who asks for an element.
enum Asked {
    Told(Option<Spot>),
    /// What they had has just gone back.
    Again,
}

/// How often one asks whose element goes back meanwhile.
const ASKED_MAX: usize = 8;

/// Lists that a process knows; it forgets all of them when there are more.
const LISTS_MAX: usize = 1_000;

#[cfg(test)]
impl List {
    pub(super) fn digest(&self) -> &str {
        &self.manifest.digest
    }
}

impl Shard {
    fn note(&mut self, claims: Option<&Claims>) {
        self.looked_at = true;
        let exhausted = claims.filter(|claims| claims.size > 0 && claims.next >= claims.size);
        if let Some(claims) = exhausted {
            self.exhausted = Some(claims.claims.keys().cloned().collect());
        }
    }
}
