//! [`Query`]: the records of one partition, in the order of their range key, page by page.

use std::marker::PhantomData;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use crate::dynamo::error::not_applied;
use crate::dynamo::expression::Placeholders;
use crate::dynamo::meter::Units;
use crate::dynamo::record::{Call, capacity};
use crate::dynamo::table::{Item, Table, from_item, key_item};
use crate::dynamo::{Condition, Dynamo, Error, Index, Key, KeyPart};

/// `query_all` reads at most this many pages of 1 MB; what is larger is read page by page.
pub const PAGES_MAX: usize = 100;

/// Which records of a partition to read. `R` is the type of the range key: the table's, or an index's.
#[must_use]
pub struct Query<T: Table, R = <<T as Table>::Key as Key>::Range> {
    hash: AttributeValue,
    index: Option<Index>,
    range: Option<Range>,
    filter: Option<Condition<T>>,
    newest_first: bool,
    limit: Option<u32>,
    start: Option<Item>,
    eventually: bool,
    of: PhantomData<fn() -> R>,
}

enum Range {
    Compare(&'static str, AttributeValue),
    Between(AttributeValue, AttributeValue),
    StartsWith(String),
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor(Item);

/// Some of the records. A short or empty page is not the last one: that is the page without `next`.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub records: Vec<T>,
    pub next: Option<Cursor>,
}

impl<T: Table> Query<T> {
    /// The whole partition.
    pub fn of(hash: <T::Key as Key>::Hash) -> Self {
        Self::new(hash.value(), None)
    }

    /// Starts after this record; in the direction of the query.
    pub fn after(mut self, key: T::Key) -> Self {
        self.start = Some(key_item::<T>(key));
        self
    }
}

impl<T: Table, R: KeyPart> Query<T, R> {
    /// The partition in the order of an index. Only the attributes that it holds are read.
    pub fn by_index(index: Index, hash: <T::Key as Key>::Hash) -> Self {
        assert!(R::KIND == index.range.kind, "the index {} has another kind of range", index.name);
        Self::new(hash.value(), Some(index))
    }

    fn new(hash: AttributeValue, index: Option<Index>) -> Self {
        Self {
            hash,
            index,
            range: None,
            filter: None,
            newest_first: false,
            limit: None,
            start: None,
            eventually: false,
            of: PhantomData,
        }
    }

    fn range(mut self, range: Range) -> Self {
        assert!(self.range.is_none(), "DynamoDB takes one condition on the range; see `between`");
        self.range = Some(range);
        self
    }

    pub fn at_least(self, range: R) -> Self {
        self.range(Range::Compare(">=", range.value()))
    }

    pub fn at_most(self, range: R) -> Self {
        self.range(Range::Compare("<=", range.value()))
    }

    pub fn less(self, range: R) -> Self {
        self.range(Range::Compare("<", range.value()))
    }

    /// Both ends included.
    pub fn between(self, from: R, to: R) -> Self {
        self.range(Range::Between(from.value(), to.value()))
    }

    /// Leaves out what does not fit. It is read and paid for all the same.
    pub fn filter(mut self, condition: Condition<T>) -> Self {
        self.filter = Some(condition);
        self
    }

    /// From the largest range key to the smallest.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// Reads at most this many records for a page; filters and expiry may leave fewer.
    pub fn limit(mut self, records: u32) -> Self {
        self.limit = Some(records);
        self
    }

    /// Starts where a page ended.
    pub fn resume(mut self, cursor: Cursor) -> Self {
        self.start = Some(cursor.0);
        self
    }

    /// Half the price; the records may be as they were a second ago, or before.
    pub fn eventually(mut self) -> Self {
        self.eventually = true;
        self
    }

    fn render(&self, p: &mut Placeholders) -> String {
        let hash = format!("{} = {}", p.name(T::KEY[0]), p.value(&self.hash));
        let Some(range) = &self.range else { return hash };
        let name = self.index.map_or_else(|| T::KEY.get(1).copied(), |index| Some(index.range.name));
        let name = p.name(name.expect("NoRange has no value to compare with"));
        let range = match range {
            Range::Compare(operator, value) => format!("{name} {operator} {}", p.value(value)),
            Range::Between(from, to) => format!("{name} BETWEEN {} AND {}", p.value(from), p.value(to)),
            Range::StartsWith(text) => {
                format!("begins_with({name}, {})", p.value(&AttributeValue::S(text.clone())))
            }
        };
        format!("{hash} AND {range}")
    }
}

impl<T: Table> Query<T, String> {
    pub fn starts_with(self, prefix: impl Into<String>) -> Self {
        self.range(Range::StartsWith(prefix.into()))
    }
}

impl Dynamo {
    /// Reads one page, with strong consistency unless the query says `eventually`.
    pub async fn query<T: Table, R: KeyPart>(&self, query: Query<T, R>) -> Result<Page<T>, Error> {
        self.page(&query, query.start.clone()).await
    }

    /// Reads all pages, at most [`PAGES_MAX`].
    pub async fn query_all<T: Table, R: KeyPart>(&self, query: Query<T, R>) -> Result<Vec<T>, Error> {
        let mut records = Vec::new();
        let mut start = query.start.clone();
        for _ in 0..PAGES_MAX {
            let page = self.page(&query, start).await?;
            records.extend(page.records);
            match page.next {
                Some(cursor) => start = Some(cursor.0),
                None => return Ok(records),
            }
        }
        Err(Error::TooLarge(format!("more than {PAGES_MAX} pages of {}", T::NAME).into()))
    }

    /// Reads so many records, fewer only if there are no more: what has expired makes pages short.
    pub async fn query_first<T: Table, R: KeyPart>(
        &self,
        query: Query<T, R>,
        count: u32,
    ) -> Result<Vec<T>, Error> {
        let count = count as usize;
        let mut query = Query { limit: u32::try_from(count).ok(), ..query };
        let (mut records, mut start) = (Vec::new(), query.start.clone());
        for _ in 0..PAGES_MAX {
            let page = self.page(&query, start).await?;
            records.extend(page.records);
            start = page.next.map(|cursor| cursor.0);
            if records.len() >= count || start.is_none() {
                records.truncate(count);
                return Ok(records);
            }
            // What is left may be far behind what has expired.
            query.limit = None;
        }
        Err(Error::TooLarge(format!("more than {PAGES_MAX} pages of {}", T::NAME).into()))
    }

    async fn page<T: Table, R: KeyPart>(
        &self,
        query: &Query<T, R>,
        start: Option<Item>,
    ) -> Result<Page<T>, Error> {
        let call = Call::new(self, T::NAME, "query");
        let mut p = Placeholders::default();
        let keys = query.render(&mut p);
        let filter = query.filter.as_ref().map(|filter| filter.render_filter(&mut p));
        let request = self.client().query().table_name(self.table_name(T::NAME));
        let request = request
            .set_index_name(query.index.map(|index| index.name.to_owned()))
            .key_condition_expression(keys)
            .set_filter_expression(filter)
            .set_expression_attribute_names(p.names())
            .set_expression_attribute_values(p.values())
            .scan_index_forward(!query.newest_first)
            // A limit is a count of records: what DynamoDB counts in is the SDK's i32.
            .set_limit(query.limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(start)
            .consistent_read(!query.eventually)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        let output = request.send().await.map_err(|failed| call.failed(not_applied(failed)))?;
        call.done(Units::read(capacity(output.consumed_capacity())));
        let now = self.now();
        let items = output.items.unwrap_or_default().into_iter();
        let records = items.filter_map(|item| from_item(item, now).transpose());
        Ok(Page {
            records: records.collect::<Result<_, _>>()?,
            next: output.last_evaluated_key.filter(|key| !key.is_empty()).map(Cursor),
        })
    }
}
