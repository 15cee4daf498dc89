//! Random requests over few items, so that they meet. Most are sound; some are wrong in one way.

use serde_json::{Map, Value, json};

const NUMBERS: [&str; 6] = ["0", "1", "2", "-3", "10.5", "1000000000000"];
const TEXTS: [&str; 4] = ["a", "ab", "abc", "b"];

pub struct Generator {
    random: fastrand::Rng,
    /// Of the request in the making.
    values: Map<String, Value>,
    names: Map<String, Value>,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), values: Map::new(), names: Map::new() }
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.random.usize(..of.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(..100) < percent
    }

    fn key(&mut self) -> Value {
        json!({ "pk": { "S": self.one(&["P", "Q"]) }, "sk": { "S": self.one(&["a", "ab", "b", "c", "ca"]) } })
    }

    fn number(&mut self) -> Value {
        json!({ "N": self.one(&NUMBERS) })
    }

    fn text(&mut self) -> Value {
        json!({ "S": self.one(&TEXTS) })
    }

    fn texts(&mut self) -> Value {
        json!({ "SS": if self.random.bool() { vec!["a"] } else { vec!["ab", "b"] } })
    }

    fn list(&mut self) -> Value {
        json!({ "L": [self.number(), self.text()] })
    }

    fn item(&mut self) -> Value {
        let mut item = self.key();
        for (name, value) in [
            ("n", self.number()),
            ("t", self.text()),
            ("ss", self.texts()),
            ("l", self.list()),
            ("m", json!({ "M": { "x": self.number(), "y": { "M": { "z": self.text() } } } })),
            ("f", json!({ "BOOL": self.random.bool() })),
            ("z", json!({ "NULL": true })),
            ("b", json!({ "B": "AQID" })),
            ("ns", json!({ "NS": ["1", "2.5"] })),
            ("owed_shard", json!({ "S": "s1" })),
            ("next_check_at", self.number()),
        ] {
            if self.chance(50) {
                item[name] = value;
            }
        }
        if self.chance(2) {
            item["n"] = json!({ "N": self.one(&["x", "", "1e400"]) });
        }
        if self.chance(2) {
            item["ss"] = json!({ "SS": if self.random.bool() { vec![] } else { vec!["a", "a"] } });
        }
        item
    }

    fn value(&mut self, value: Value) -> String {
        let name = format!(":v{}", self.values.len());
        self.values.insert(name.clone(), value);
        name
    }

    fn path(&mut self) -> String {
        let path = self.one(&["n", "t", "ss", "l", "m.x", "m.y.z", "l[0]", "l[1]", "l[2]", "f", "b", "gone", "m.gone", "n", "#n", "m"]);
        if path == "#n" {
            self.names.insert("#n".into(), json!("n"));
        }
        path.to_owned()
    }

    fn condition(&mut self, depth: u32) -> String {
        if depth > 0 && self.chance(40) {
            let (a, b) = (self.condition(depth - 1), self.condition(depth - 1));
            return match self.random.u32(..4) {
                0 => format!("{a} AND {b}"),
                1 => format!("{a} OR {b}"),
                2 => format!("NOT {a}"),
                _ => format!("({a} OR {b}) AND {a}"),
            };
        }
        let path = self.path();
        match self.random.u32(..12) {
            0 => format!("attribute_exists({path})"),
            1 => format!("attribute_not_exists({path})"),
            2 => {
                let kind = self.one(&["S", "N", "SS", "M", "L", "BOOL"]);
                let value = self.value(json!({ "S": kind }));
                format!("attribute_type({path}, {value})")
            }
            3 => {
                let text = self.text();
                let value = self.value(text);
                format!("begins_with({path}, {value})")
            }
            4 => {
                let value = if self.random.bool() { self.text() } else { self.number() };
                let value = self.value(value);
                format!("contains({path}, {value})")
            }
            5 => {
                let (sign, value) = (self.one(&["=", "<", ">="]), self.number());
                let value = self.value(value);
                format!("size({path}) {sign} {value}")
            }
            6 => {
                let (low, high) = (self.value(json!({ "N": "0" })), self.value(json!({ "N": "5" })));
                format!("{path} BETWEEN {low} AND {high}")
            }
            7 => {
                let (a, b) = (self.number(), self.text());
                let (a, b) = (self.value(a), self.value(b));
                format!("{path} IN ({a}, {b})")
            }
            _ => {
                let sign = self.one(&["=", "<>", "<", "<=", ">", ">="]);
                let value = if self.random.bool() { self.text() } else { self.number() };
                let value = self.value(value);
                format!("{path} {sign} {value}")
            }
        }
    }

    fn update(&mut self) -> String {
        let mut free = vec!["n", "t", "ss", "l", "m.x", "m.y.z", "f", "fresh", "c", "next_check_at"];
        self.random.shuffle(&mut free);
        let mut target = || free.pop().unwrap_or("fresh");
        let (first, second, third, fourth) = (target(), target(), target(), target());
        let number = self.number();
        let mut sections = Vec::new();
        if self.chance(70) {
            let value = self.value(number.clone());
            let from = self.one(&["n", "t", "gone", "m.x", "l[0]"]);
            let to = match self.random.u32(..6) {
                0 => format!("n + {value}"),
                1 => format!("if_not_exists({from}, {value})"),
                2 => format!("if_not_exists({from}, {value}) - {value}"),
                3 => {
                    let list = self.list();
                    self.values.remove(&value);
                    let list = self.value(list);
                    if self.random.bool() { format!("list_append({list}, {list})") } else { format!("list_append(l, {list})") }
                }
                4 => {
                    self.values.remove(&value);
                    from.to_owned()
                }
                _ => value,
            };
            sections.push(format!("SET {first} = {to}"));
        }
        if self.chance(30) {
            sections.push(format!("REMOVE {second}"));
        }
        if self.chance(30) {
            let counter = self.one(&["n", "c2", third]);
            let counter = if counter == second || counter == first { "c2" } else { counter };
            let by = self.one(&["1", "-2", "0.5"]);
            let value = self.value(json!({ "N": by }));
            sections.push(format!("ADD {counter} {value}"));
        }
        if self.chance(15) {
            let texts = self.texts();
            let value = self.value(texts);
            sections.push(format!("DELETE {} {value}", if [first, second].contains(&"ss") { fourth } else { "ss" }));
        }
        self.random.shuffle(&mut sections);
        sections.join(" ")
    }

    fn finish(&mut self, mut request: Value) -> Value {
        let (names, values) = (std::mem::take(&mut self.names), std::mem::take(&mut self.values));
        let names = if self.chance(1) { Map::from_iter([("#idle".to_owned(), json!("n"))]) } else { names };
        if !names.is_empty() {
            request["ExpressionAttributeNames"] = Value::Object(names);
        }
        if !values.is_empty() {
            request["ExpressionAttributeValues"] = Value::Object(values);
        }
        request
    }

    fn write(&mut self, kind: &str) -> Value {
        let mut request = json!({ "TableName": "kiln" });
        match kind {
            "Put" => request["Item"] = self.item(),
            _ => request["Key"] = self.key(),
        }
        if kind == "Update" && self.chance(95) {
            let update = self.update();
            if !update.is_empty() {
                request["UpdateExpression"] = json!(update);
            }
        }
        if kind == "ConditionCheck" || self.chance(40) {
            request["ConditionExpression"] = json!(self.condition(2));
        }
        if self.random.bool() && request.get("ConditionExpression").is_some() {
            request["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
        }
        self.finish(request)
    }

    fn select(&mut self, operation: &str) -> Value {
        let mut request = json!({ "TableName": "kiln" });
        if operation == "Query" {
            let index = self.chance(30);
            let partition = if index { "s1" } else { self.one(&["P", "Q"]) };
            let partition = self.value(json!({ "S": partition }));
            let sort = if index { self.number() } else { self.text() };
            let name = if index { "next_check_at" } else { "sk" };
            let mut condition = format!("{} = {partition}", if index { "owed_shard" } else { "pk" });
            match self.random.u32(..6) {
                0 if !index => condition += &format!(" AND begins_with({name}, {})", self.value(sort)),
                1 => condition += &format!(" AND {name} BETWEEN {} AND {}", self.value(sort.clone()), self.value(sort)),
                2 | 3 => condition += &format!(" AND {name} {} {}", self.one(&["=", "<", "<=", ">", ">="]), self.value(sort)),
                _ => {}
            }
            request["KeyConditionExpression"] = json!(condition);
            request["ScanIndexForward"] = json!(self.random.bool());
            if index {
                request["IndexName"] = json!("owed");
            }
        }
        if self.chance(30) {
            request["FilterExpression"] = json!(self.condition(1));
        }
        if self.chance(30) && operation == "Query" {
            request["Limit"] = json!(self.random.u32(1..4));
        }
        if self.chance(15) {
            request["Select"] = json!("COUNT");
        } else if self.chance(20) {
            request["ProjectionExpression"] = json!(self.one(&["pk, n", "m.x, l[0]", "sk", "gone"]));
        }
        self.finish(request)
    }

    fn keys(&mut self) -> Vec<Value> {
        let count = self.random.usize(1..5);
        let doubles = self.chance(5);
        let mut keys: Vec<Value> = Vec::new();
        for _ in 0..count {
            let key = self.key();
            if doubles || !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// The next operation and its request.
    pub fn next(&mut self) -> (&'static str, Value) {
        match self.random.u32(..100) {
            0..20 => {
                let request = self.write("Put");
                ("PutItem", self.returning(request, &["NONE", "ALL_OLD"]))
            }
            20..50 => {
                let request = self.write("Update");
                ("UpdateItem", self.returning(request, &["NONE", "ALL_OLD", "ALL_NEW", "UPDATED_NEW", "UPDATED_OLD"]))
            }
            50..57 => {
                let request = self.write("Delete");
                ("DeleteItem", self.returning(request, &["NONE", "ALL_OLD"]))
            }
            57..63 => {
                let mut request = json!({ "TableName": "kiln", "Key": self.key(), "ConsistentRead": true });
                if self.random.bool() {
                    request["ProjectionExpression"] = json!(self.one(&["n, t", "m.y.z, l[1], pk", "l[1], l[0]", "n, n"]));
                }
                ("GetItem", request)
            }
            63..75 => ("Query", self.select("Query")),
            75..78 => ("Scan", self.select("Scan")),
            78..81 => ("BatchGetItem", json!({ "RequestItems": { "kiln": { "Keys": self.keys() } } })),
            81..83 => {
                let keys = self.keys();
                let parts: Vec<Value> = keys.into_iter().map(|key| json!({ "Get": { "TableName": "kiln", "Key": key } })).collect();
                ("TransactGetItems", json!({ "TransactItems": parts }))
            }
            83..86 => {
                let keys = self.keys();
                let part =
                    |key: Value| if key["sk"]["S"] == "a" { json!({ "DeleteRequest": { "Key": key } }) } else { json!({ "PutRequest": { "Item": key } }) };
                ("BatchWriteItem", json!({ "RequestItems": { "kiln": keys.into_iter().map(part).collect::<Vec<_>>() } }))
            }
            _ => {
                let keys = self.keys();
                let parts: Vec<Value> = keys
                    .into_iter()
                    .map(|key| {
                        let kind = self.one(&["Put", "Update", "Update", "Delete", "ConditionCheck"]);
                        let mut part = self.write(kind);
                        if kind == "Put" {
                            part["Item"].as_object_mut().expect("an item").extend(key.as_object().expect("a key").clone());
                        } else {
                            part["Key"] = key;
                        }
                        json!({ kind: part })
                    })
                    .collect();
                ("TransactWriteItems", json!({ "TransactItems": parts }))
            }
        }
    }

    fn returning(&mut self, mut request: Value, of: &[&str]) -> Value {
        request["ReturnValues"] = json!(self.one(of));
        request
    }
}
