//! From a request to what is to be done: all that can be refused without looking at the table is refused here.

use crate::expr::{Comparison, Condition, Operand, Parser, Path, Refs, Step, Update};
use crate::schema::{INDEX, INDEX_KEY, KEY, Key, TABLE, check};
use crate::value::{Item, Value};
use crate::wire::{self, Failure, Return};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

const TOO_LARGE: &str = "Item size has exceeded the maximum allowed size";
/// Parts of a transaction, and their bytes.
const MOST_PARTS: usize = 100;
const TRANSACTION_BYTES: usize = 4 << 20;
const MOST_KEYS: usize = 100;
const MOST_WRITES: usize = 25;

#[derive(Debug, Clone)]
pub enum Action {
    Put(Item),
    Update(Option<Update>),
    Delete,
    Check,
}

/// One item's write, or the check of it.
#[derive(Debug, Clone)]
pub struct Write {
    pub key: Key,
    pub action: Action,
    pub condition: Option<Condition>,
    /// A failed condition shows the item.
    pub shows: bool,
    pub returns: Return,
}

#[derive(Debug, Clone)]
pub struct Read {
    pub key: Key,
    pub projection: Option<Vec<Path>>,
}

/// What a query wants of the sort key.
#[derive(Debug, Clone)]
pub enum Range {
    All,
    Compare(Comparison, Value),
    Between(Value, Value),
    Prefix(String),
}

#[derive(Debug, Clone)]
pub struct Select {
    /// The partition's key; none for a scan.
    pub partition: Option<String>,
    pub range: Range,
    pub index: bool,
    pub filter: Option<Condition>,
    pub projection: Option<Vec<Path>>,
    pub backward: bool,
    pub limit: Option<usize>,
    pub start: Option<Item>,
    pub count_only: bool,
    /// Which of how many.
    pub segment: Option<(u64, u64)>,
}

#[derive(Debug, Clone)]
pub enum Plan {
    Get(Read),
    BatchGet(Vec<Read>),
    Write(Box<Write>),
    Select(Box<Select>),
    TransactWrite { token: Option<(String, u64)>, writes: Vec<Write> },
    TransactGet(Vec<Read>),
    BatchWrite(Vec<Write>),
}

type Planned<T> = Result<T, Failure>;

pub fn plan(operation: &str, body: &[u8]) -> Planned<Plan> {
    match operation {
        "GetItem" => {
            let request: wire::GetItem = wire::read(body)?;
            get(&request).map(Plan::Get)
        }
        "BatchGetItem" => batch_get(&wire::read(body)?),
        "PutItem" | "UpdateItem" | "DeleteItem" => {
            let (request, kind): (wire::Write, _) = (wire::read(body)?, &operation[..operation.len() - 4]);
            write(&request, kind, Some(&request.table_name)).map(|write| Plan::Write(Box::new(write)))
        }
        "Query" | "Scan" => select(&wire::read(body)?, operation == "Scan").map(|select| Plan::Select(Box::new(select))),
        "TransactWriteItems" => transact_write(&wire::read(body)?),
        "TransactGetItems" => transact_get(&wire::read(body)?),
        "BatchWriteItem" => batch_write(&wire::read(body)?),
        _ => Err(Failure::new("UnknownOperationException", format!("not in this model of DynamoDB: {operation}"))),
    }
}

fn table(name: &str) -> Planned<()> {
    match name {
        TABLE => Ok(()),
        "" => Err(Failure::invalid("Value null at 'tableName' failed to satisfy constraint: Member must not be null")),
        _ => Err(Failure::new("ResourceNotFoundException", format!("Requested resource not found: Table: {name} not found"))),
    }
}

fn in_words<T>(expression: &str, parsed: Result<T, String>) -> Planned<T> {
    parsed.map_err(|words| Failure::invalid(format!("Invalid {expression}: {words}")))
}

fn projection(text: Option<&str>, refs: &Refs) -> Planned<Option<Vec<Path>>> {
    text.map(|text| in_words("ProjectionExpression", Parser::projection(text, refs))).transpose()
}

fn get(request: &wire::GetItem) -> Planned<Read> {
    table(&request.table_name)?;
    let refs = Refs::new(request.expression_attribute_names.as_ref(), None);
    let projection = projection(request.projection_expression.as_deref(), &refs)?;
    refs.check(projection.is_some()).map_err(Failure::invalid)?;
    Ok(Read { key: Key::given(&request.key).map_err(Failure::invalid)?, projection })
}

fn no_doubles<'a>(keys: impl IntoIterator<Item = &'a Key>, message: &str) -> Planned<()> {
    let mut seen = BTreeSet::new();
    if keys.into_iter().all(|key| seen.insert(key)) { Ok(()) } else { Err(Failure::invalid(message)) }
}

fn batch_get(request: &wire::BatchGetItem) -> Planned<Plan> {
    if request.request_items.is_empty() {
        return Err(Failure::invalid("The batch get request list for a table cannot be null or empty."));
    }
    let mut reads = Vec::new();
    for (name, wanted) in &request.request_items {
        table(name)?;
        if wanted.keys.is_empty() {
            return Err(Failure::invalid("The list of keys in RequestItems for BatchGetItem is required"));
        }
        if wanted.keys.len() > MOST_KEYS {
            return Err(Failure::invalid("Too many items requested for the BatchGetItem call"));
        }
        let refs = Refs::new(wanted.expression_attribute_names.as_ref(), None);
        let projection = projection(wanted.projection_expression.as_deref(), &refs)?;
        refs.check(projection.is_some()).map_err(Failure::invalid)?;
        for key in &wanted.keys {
            reads.push(Read { key: Key::given(key).map_err(Failure::invalid)?, projection: projection.clone() });
        }
    }
    no_doubles(reads.iter().map(|read| &read.key), "Provided list of item keys contains duplicates")?;
    Ok(Plan::BatchGet(reads))
}

/// `kind` is Put, Update, Delete or ConditionCheck; `of` the table where the request names it.
fn write(request: &wire::Write, kind: &str, of: Option<&str>) -> Planned<Write> {
    if let Some(name) = of {
        table(name)?;
    }
    let misplaced = match kind {
        "Put" => request.key.is_some() || request.update_expression.is_some() || request.item.is_none(),
        "Update" => request.item.is_some() || request.key.is_none(),
        _ => request.item.is_some() || request.update_expression.is_some() || request.key.is_none(),
    };
    if misplaced {
        return Err(Failure::invalid(format!("{kind} lacks its item or key, or has a parameter that is not its own")));
    }
    let returns = request.return_values.unwrap_or_default();
    if kind != "Update" && !matches!(returns, Return::None | Return::AllOld) {
        return Err(Failure::invalid("Return values set to invalid value"));
    }
    let shows = match request.return_values_on_condition_check_failure {
        Return::None => false,
        Return::AllOld => true,
        _ => return Err(Failure::invalid("ReturnValuesOnConditionCheckFailure set to invalid value")),
    };
    let refs = Refs::new(request.expression_attribute_names.as_ref(), request.expression_attribute_values.as_ref());
    let update = request.update_expression.as_deref().map(|text| in_words("UpdateExpression", Parser::update(text, &refs))).transpose()?;
    let condition = request.condition_expression.as_deref().map(|text| in_words("ConditionExpression", Parser::condition(text, &refs))).transpose()?;
    refs.check(update.is_some() || condition.is_some()).map_err(Failure::invalid)?;
    if let Some(target) = update.iter().flat_map(Update::targets).find_map(|path| KEY.iter().find(|key| path[0] == Step::Name((**key).into()))) {
        return Err(Failure::invalid(format!(
            "One or more parameter values were invalid: Cannot update attribute {target}. This attribute is part of the key"
        )));
    }
    let (key, action) = match (&request.item, &request.key) {
        (Some(item), _) => {
            let key = Key::of(item).map_err(Failure::invalid)?;
            check(item, TOO_LARGE).map_err(Failure::invalid)?;
            (key, Action::Put(item.clone()))
        }
        (None, key) => {
            let key = Key::given(key.as_ref().unwrap_or(&Item::new())).map_err(Failure::invalid)?;
            let action = match kind {
                "Update" => Action::Update(update),
                "Delete" => Action::Delete,
                _ if condition.is_none() => return Err(Failure::invalid("The expression can not be empty;")),
                _ => Action::Check,
            };
            (key, action)
        }
    };
    Ok(Write { key, action, condition, shows, returns })
}

fn transact_write(request: &wire::TransactWriteItems) -> Planned<Plan> {
    let count = request.transact_items.len();
    if count == 0 || count > MOST_PARTS {
        return Err(Failure::invalid(format!("Member must have length less than or equal to {MOST_PARTS} and at least 1: transactItems has {count}")));
    }
    let mut writes = Vec::with_capacity(count);
    let mut bytes = 0;
    for part in &request.transact_items {
        let kinds = [("Put", &part.put), ("Update", &part.update), ("Delete", &part.delete), ("ConditionCheck", &part.condition_check)];
        let mut given = kinds.into_iter().filter_map(|(kind, write)| Some((kind, write.as_ref()?)));
        let (Some((kind, request)), None) = (given.next(), given.next()) else {
            return Err(Failure::invalid("TransactItems can only contain one of Check, Put, Update or Delete"));
        };
        if request.return_values.is_some() {
            return Err(Failure::invalid("not in this model of DynamoDB: ReturnValues in a transaction"));
        }
        bytes += request.item.iter().chain(&request.key).chain(&request.expression_attribute_values).map(crate::value::item_size).sum::<usize>();
        writes.push(write(request, kind, Some(&request.table_name))?);
    }
    no_doubles(writes.iter().map(|write| &write.key), "Transaction request cannot include multiple operations on one item")?;
    if bytes > TRANSACTION_BYTES {
        return Err(Failure::invalid("Member must have total size less than or equal to 4 MB"));
    }
    let token = request.client_request_token.as_ref().map(|token| {
        let mut hasher = DefaultHasher::new();
        request.transact_items.hash(&mut hasher);
        (token.clone(), hasher.finish())
    });
    if token.as_ref().is_some_and(|(token, _)| token.is_empty() || token.len() > 36) {
        return Err(Failure::invalid("Value at 'clientRequestToken' failed to satisfy constraint: Member must have length between 1 and 36"));
    }
    Ok(Plan::TransactWrite { token, writes })
}

fn transact_get(request: &wire::TransactGetItems) -> Planned<Plan> {
    let count = request.transact_items.len();
    if count == 0 || count > MOST_PARTS {
        return Err(Failure::invalid(format!("Member must have length less than or equal to {MOST_PARTS} and at least 1: transactItems has {count}")));
    }
    let missing = || Failure::invalid("TransactItems can only contain Get");
    let reads: Vec<Read> = request.transact_items.iter().map(|part| get(part.get.as_ref().ok_or_else(missing)?)).collect::<Result<_, _>>()?;
    no_doubles(reads.iter().map(|read| &read.key), "Transaction request cannot include multiple operations on one item")?;
    Ok(Plan::TransactGet(reads))
}

fn batch_write(request: &wire::BatchWriteItem) -> Planned<Plan> {
    let mut writes = Vec::new();
    for (name, parts) in &request.request_items {
        table(name)?;
        for part in parts {
            writes.push(match (&part.put_request, &part.delete_request) {
                (Some(put), None) => write(put, "Put", None)?,
                (None, Some(delete)) => write(delete, "Delete", None)?,
                _ => return Err(Failure::invalid("Supplied WriteRequest must contain exactly one of PutRequest and DeleteRequest")),
            });
        }
    }
    if writes.is_empty() || writes.len() > MOST_WRITES {
        return Err(Failure::invalid(format!("BatchWriteItem takes 1 to {MOST_WRITES} items, not {}", writes.len())));
    }
    no_doubles(writes.iter().map(|write| &write.key), "Provided list of item keys contains duplicates")?;
    Ok(Plan::BatchWrite(writes))
}

fn select(request: &wire::Select, scan: bool) -> Planned<Select> {
    table(&request.table_name)?;
    let index = match request.index_name.as_deref() {
        None => false,
        Some(INDEX) if !scan => true,
        Some(INDEX) => return Err(Failure::invalid("not in this model of DynamoDB: a scan of the index")),
        Some(name) => return Err(Failure::invalid(format!("The table does not have the specified index: {name}"))),
    };
    if index && request.consistent_read {
        return Err(Failure::invalid("Consistent reads are not supported on global secondary indexes"));
    }
    let refs = Refs::new(request.expression_attribute_names.as_ref(), request.expression_attribute_values.as_ref());
    let names = if index { INDEX_KEY } else { KEY };
    let (partition, range) = match (scan, &request.key_condition_expression) {
        (true, None) => (None, Range::All),
        (false, Some(text)) => {
            let condition = in_words("KeyConditionExpression", Parser::condition(text, &refs))?;
            let (partition, range) = key_condition(condition, names, index)?;
            (Some(partition), range)
        }
        _ => return Err(Failure::invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")),
    };
    let filter = request.filter_expression.as_deref().map(|text| in_words("FilterExpression", Parser::condition(text, &refs))).transpose()?;
    let projection = projection(request.projection_expression.as_deref(), &refs)?;
    refs.check(partition.is_some() || filter.is_some() || projection.is_some()).map_err(Failure::invalid)?;
    if !scan && let Some(path) = filter.iter().flat_map(Condition::paths).find(|path| names.iter().any(|name| path[0] == Step::Name((*name).into()))) {
        let Step::Name(name) = &path[0] else { unreachable!("a path begins with a name") };
        return Err(Failure::invalid(format!("Filter Expression can only contain non-primary key attributes: Primary key attribute: {name}")));
    }
    let limit = match request.limit {
        Some(limit) if limit < 1 => {
            return Err(Failure::invalid("Value at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"));
        }
        limit => limit.map(|limit| limit as usize),
    };
    let count_only = match (request.select.as_deref(), projection.is_some()) {
        (None | Some("SPECIFIC_ATTRIBUTES"), true) | (None, false) => false,
        (Some("ALL_ATTRIBUTES"), false) if !index => false,
        (Some("ALL_PROJECTED_ATTRIBUTES"), false) if index => false,
        (Some("COUNT"), false) => true,
        _ => return Err(Failure::invalid("Select is not one that goes with this index and projection")),
    };
    let segment = match (request.segment, request.total_segments) {
        (None, None) => None,
        (Some(segment), Some(total)) if scan && (1..=1_000_000).contains(&total) && (0..total).contains(&segment) => Some((segment as u64, total as u64)),
        _ => return Err(Failure::invalid("The Segment parameter is zero-based and must be less than parameter TotalSegments")),
    };
    let backward = request.scan_index_forward == Some(false);
    let start = request.exclusive_start_key.clone();
    if let Some(start) = &start {
        check_start(start, partition.as_deref(), index).map_err(Failure::invalid)?;
    }
    Ok(Select { partition, range, index, filter, projection, backward, limit, start, count_only, segment })
}

fn check_start(start: &Item, partition: Option<&str>, index: bool) -> Result<(), String> {
    let bad = || "The provided starting key is invalid".to_owned();
    let mut base = start.clone();
    if index {
        let (Some(Value::S(_)), Some(Value::N(_))) = (base.remove(INDEX_KEY[0]), base.remove(INDEX_KEY[1])) else { return Err(bad()) };
    }
    let key = Key::given(&base).map_err(|_| bad())?;
    let given = if index { start.get(INDEX_KEY[0]).cloned() } else { Some(Value::S(key.pk)) };
    match partition {
        Some(partition) if given != Some(Value::S(partition.to_owned())) => {
            Err("The provided starting key is outside query boundaries based on provided conditions".into())
        }
        _ => Ok(()),
    }
}

fn key_condition(condition: Condition, names: [&str; 2], index: bool) -> Planned<(String, Range)> {
    let unsupported = || Failure::invalid("Query key condition not supported");
    let (first, second) = match condition {
        Condition::And(first, second) => (*first, Some(*second)),
        one => (one, None),
    };
    let is = |operand: &Operand, at: usize| matches!(operand, Operand::Path(path) if path.as_slice() == [Step::Name(names[at].into())]);
    let partition = |condition: &Condition| match condition {
        Condition::Compare(Comparison::Equal, path, Operand::Value(value)) if is(path, 0) => Some(value.clone()),
        _ => None,
    };
    let (value, other) = match (partition(&first), second) {
        (Some(value), other) => (value, other),
        (None, Some(second)) => (partition(&second).ok_or_else(unsupported)?, Some(first)),
        (None, None) => return Err(Failure::invalid(format!("Query condition missed key schema element: {}", names[0]))),
    };
    let kind = if index { "N" } else { "S" };
    let fits = |value: &Value| match value {
        Value::S(text) if kind == "S" && text.is_empty() => {
            Err(Failure::invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value."))
        }
        value if value.kind() == kind => Ok(()),
        _ => Err(Failure::invalid("One or more parameter values were invalid: Condition parameter type does not match schema type")),
    };
    let Value::S(partition) = value else {
        return Err(Failure::invalid("One or more parameter values were invalid: Condition parameter type does not match schema type"));
    };
    if partition.is_empty() {
        return Err(Failure::invalid(
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value.",
        ));
    }
    let range = match other {
        None => Range::All,
        Some(Condition::Compare(how, path, Operand::Value(value))) if is(&path, 1) && how != Comparison::Unequal => {
            fits(&value)?;
            Range::Compare(how, value)
        }
        Some(Condition::Between(path, Operand::Value(low), Operand::Value(high))) if is(&path, 1) => {
            fits(&low)?;
            fits(&high)?;
            Range::Between(low, high)
        }
        Some(Condition::BeginsWith(path, Operand::Value(Value::S(prefix)))) if is(&path, 1) && !index => {
            fits(&Value::S(prefix.clone()))?;
            Range::Prefix(prefix)
        }
        Some(_) => return Err(unsupported()),
    };
    Ok((partition, range))
}
