//! Puts envelopes into the queue of a link, as publishing does, and many at once: what is tested or measured is
//! what becomes of them.

use std::collections::BTreeMap;

use mneme::clock::Clock;
use mneme::relay::frame::Lane;
use mneme::relay::handle::Relay;
use mneme::relay::link::epoch;
use mneme::relay::name::BotName;
use mneme::relay::publish::Draft;
use mneme::relay::store::{Change, Kept, Out, Store as _, Written, joining};

/// Two writes for each and one for the queue: a transaction holds a hundred.
const TOGETHER: usize = 45;

/// The drafts of these numbers, to a peer.
pub async fn fill(
    relay: &Relay,
    peer: &BotName,
    numbers: std::ops::Range<usize>,
    draft: impl Fn(usize) -> Draft,
) {
    let (tables, routes) = (relay.tables(), &relay.settings().routes);
    let out = Out::Link(peer.clone(), Lane::Events);
    let mut next = numbers.start;
    while next < numbers.end {
        let known = BTreeMap::from([(out.clone(), tables.out_lane(&out).await.expect("the store answers"))]);
        let (mut envelopes, mut queued) = (Vec::new(), Vec::new());
        for n in next..numbers.end.min(next + TOGETHER) {
            let sealed = routes.seal(draft(n)).expect("it is an envelope");
            let envelope = sealed.envelope();
            let (id, at, until) = (envelope.id.clone(), envelope.at, envelope.until);
            queued.push((id.clone(), until, vec![out.clone()]));
            let (text, signature, path) = (sealed.text().to_owned(), None, Vec::new());
            envelopes.push((Kept { id, text, signature, path, at, until }, None));
        }
        next += envelopes.len();
        let joining = joining(&known, epoch(Clock::system().now()), &queued);
        let change = Change { envelopes, joining, ..Change::default() };
        let written = tables.write(&change).await.expect("the store answers");
        assert_eq!(written, Written::Done, "nobody else writes");
    }
}
