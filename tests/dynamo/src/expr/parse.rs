//! The parser of all five kinds of expression.

use super::condition::order;
use super::lex::{Token, tokens};
use super::{Comparison, Condition, Operand, Path, Refs, SetTo, Step, Term, Update, overlap};
use crate::value::Value;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The words that no expression may use as a name, as DynamoDB's manual lists them.
static RESERVED: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("../reserved.txt").lines().collect());
const FUNCTIONS: [&str; 8] = ["attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains", "size", "if_not_exists", "list_append"];
/// Operands that IN takes, and operators that an expression may have.
const MOST_IN: usize = 100;
const MOST_OPERATORS: usize = 300;
const MOST_NESTED: usize = 150;

pub struct Parser<'a, 'r> {
    tokens: Vec<Token<'a>>,
    at: usize,
    refs: &'r Refs<'r>,
    operators: usize,
    depth: usize,
}

type Parsed<T> = Result<T, String>;

impl<'a, 'r> Parser<'a, 'r> {
    fn new(text: &'a str, refs: &'r Refs<'r>) -> Parsed<Self> {
        Ok(Self { tokens: tokens(text)?, at: 0, refs, operators: 0, depth: 0 })
    }

    /// A condition, filter or key condition.
    pub fn condition(text: &'a str, refs: &'r Refs<'r>) -> Parsed<Condition> {
        let mut parser = Self::new(text, refs)?;
        let (condition, _) = parser.or()?;
        parser.end()?;
        Ok(condition)
    }

    /// A projection: paths of which none holds another.
    pub fn projection(text: &'a str, refs: &'r Refs<'r>) -> Parsed<Vec<Path>> {
        let mut parser = Self::new(text, refs)?;
        let paths = parser.list(Self::path)?;
        parser.end()?;
        overlap(&paths.iter().collect::<Vec<_>>()).map_or(Ok(paths), Err)
    }

    pub fn update(text: &'a str, refs: &'r Refs<'r>) -> Parsed<Update> {
        let mut parser = Self::new(text, refs)?;
        let mut update = Update::default();
        let mut seen = HashSet::new();
        while parser.peek() != Token::End {
            let Token::Word(word) = parser.next() else { return Err(parser.wrong_at(parser.at - 1)) };
            let section = word.to_ascii_uppercase();
            match section.as_str() {
                "SET" => update.set = parser.list(Self::assignment)?,
                "REMOVE" => update.remove = parser.list(Self::path)?,
                "ADD" => update.add = parser.list(|parser| parser.path_and_value("ADD"))?,
                "DELETE" => update.delete = parser.list(|parser| parser.path_and_value("DELETE"))?,
                _ => return Err(parser.wrong_at(parser.at - 1)),
            }
            if !seen.insert(section.clone()) {
                return Err(format!("The \"{section}\" section can only be used once in an update expression;"));
            }
        }
        overlap(&update.targets()).map_or(Ok(update), Err)
    }

    fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn wrong_at(&self, at: usize) -> String {
        let near: Vec<String> = self.tokens[at.saturating_sub(1)..self.tokens.len().min(at + 2)].iter().map(Token::to_string).collect();
        format!("Syntax error; token: \"{}\", near: \"{}\"", self.tokens[at], near.join(" "))
    }

    fn wrong<T>(&self) -> Parsed<T> {
        Err(self.wrong_at(self.at))
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(next) if next == sign);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.take(sign) { Ok(()) } else { self.wrong() }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        if found {
            self.next();
        }
        found
    }

    fn end(&self) -> Parsed<()> {
        if self.peek() == Token::End { Ok(()) } else { self.wrong() }
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut list = vec![one(self)?];
        while self.take(",") {
            list.push(one(self)?);
        }
        Ok(list)
    }

    fn operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > MOST_OPERATORS {
            return Err(format!("The expression contains more than {MOST_OPERATORS} operators;"));
        }
        Ok(())
    }

    /// With each condition: whether it stood in parentheses.
    fn or(&mut self) -> Parsed<(Condition, bool)> {
        let (mut left, mut wrapped) = self.and()?;
        while self.keyword("OR") {
            self.operator()?;
            left = Condition::Or(Box::new(left), Box::new(self.and()?.0));
            wrapped = false;
        }
        Ok((left, wrapped))
    }

    fn and(&mut self) -> Parsed<(Condition, bool)> {
        let (mut left, mut wrapped) = self.not()?;
        while self.keyword("AND") {
            self.operator()?;
            left = Condition::And(Box::new(left), Box::new(self.not()?.0));
            wrapped = false;
        }
        Ok((left, wrapped))
    }

    fn not(&mut self) -> Parsed<(Condition, bool)> {
        self.depth += 1;
        if self.depth > MOST_NESTED {
            return Err("The expression has exceeded the maximum nesting depth".into());
        }
        let parsed = if self.keyword("NOT") {
            self.operator()?;
            (Condition::Not(Box::new(self.not()?.0)), false)
        } else if self.take("(") {
            let (inner, wrapped) = self.or()?;
            self.expect(")")?;
            if wrapped {
                return Err("The expression has redundant parentheses;".into());
            }
            (inner, true)
        } else {
            (self.comparison()?, false)
        };
        self.depth -= 1;
        Ok(parsed)
    }

    fn comparison(&mut self) -> Parsed<Condition> {
        self.operator()?;
        if let (Token::Word(function), Some(Token::Sign("("))) = (self.peek(), self.tokens.get(self.at + 1))
            && function != "size"
        {
            self.next();
            self.next();
            let condition = self.function(function)?;
            self.expect(")")?;
            return Ok(condition);
        }
        let left = self.operand()?;
        if self.keyword("BETWEEN") {
            let low = self.operand()?;
            if !self.keyword("AND") {
                return self.wrong();
            }
            let high = self.operand()?;
            for operand in [&left, &low, &high] {
                ordered(operand, "BETWEEN")?;
            }
            if let (Operand::Value(low), Operand::Value(high)) = (&low, &high) {
                match order(low, high) {
                    Some(Ordering::Greater) => return Err("The BETWEEN operator requires upper bound to be greater than or equal to lower bound;".into()),
                    None => return Err("The BETWEEN operator requires same data type for lower and upper bounds;".into()),
                    _ => {}
                }
            }
            return Ok(Condition::Between(left, low, high));
        }
        if self.keyword("IN") {
            self.expect("(")?;
            let list = self.list(Self::operand)?;
            self.expect(")")?;
            if list.len() > MOST_IN {
                return Err(format!("The IN operator is provided with too many operands; number of operands: {}", list.len()));
            }
            return Ok(Condition::In(left, list));
        }
        let comparison = match self.peek() {
            Token::Sign("=") => Comparison::Equal,
            Token::Sign("<>") => Comparison::Unequal,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessOrEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterOrEqual,
            _ => return self.wrong(),
        };
        let Token::Sign(sign) = self.next() else { return self.wrong() };
        let right = self.operand()?;
        if !matches!(comparison, Comparison::Equal | Comparison::Unequal) {
            ordered(&left, sign)?;
            ordered(&right, sign)?;
        }
        if left == right && matches!(left, Operand::Path(_)) {
            return Err(format!("The first operand must be distinct from the remaining operands for this operator or function; operator: {sign}"));
        }
        Ok(Condition::Compare(comparison, left, right))
    }

    fn function(&mut self, function: &str) -> Parsed<Condition> {
        let needs_path = |what: Parsed<Operand>| match what? {
            Operand::Path(path) => Ok(path),
            _ => Err(format!("Operator or function requires a document path; operator or function: {function}")),
        };
        match function {
            "attribute_exists" => needs_path(self.operand()).map(Condition::Exists),
            "attribute_not_exists" => needs_path(self.operand()).map(Condition::NotExists),
            "attribute_type" => {
                let path = needs_path(self.operand())?;
                self.expect(",")?;
                let Operand::Value(value) = self.operand()? else { return self.wrong() };
                let Value::S(kind) = &value else { return wrong_type(function, &value) };
                if !["S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS"].contains(&kind.as_str()) {
                    return Err(format!("Invalid attribute type name found; type: {kind}"));
                }
                Ok(Condition::Type(path, kind.clone()))
            }
            "begins_with" | "contains" => {
                let first = self.operand()?;
                self.expect(",")?;
                let second = self.operand()?;
                if first == second {
                    let message = "The first operand must be distinct from the remaining operands for this operator or function; operator";
                    return Err(format!("{message}: {function}"));
                }
                if function == "contains" {
                    return Ok(Condition::Contains(first, second));
                }
                for operand in [&first, &second] {
                    if let Operand::Value(value) = operand
                        && !matches!(value, Value::S(_) | Value::B(_))
                    {
                        return wrong_type(function, value);
                    }
                }
                Ok(Condition::BeginsWith(first, second))
            }
            "if_not_exists" | "list_append" => Err(format!("The function is not allowed to be used this way in an expression; function: {function}")),
            _ => Err(format!("Invalid function name; function: {function}")),
        }
    }

    fn operand(&mut self) -> Parsed<Operand> {
        match self.peek() {
            Token::Value(reference) => {
                self.next();
                Ok(Operand::Value(self.refs.value(reference)?.clone()))
            }
            Token::Word(word) if self.tokens.get(self.at + 1) == Some(&Token::Sign("(")) => {
                if word != "size" {
                    let known = FUNCTIONS.contains(&word);
                    let wrong = if known { "The function is not allowed to be used this way in an expression" } else { "Invalid function name" };
                    return Err(format!("{wrong}; function: {word}"));
                }
                self.next();
                self.next();
                let path = self.path()?;
                self.expect(")")?;
                Ok(Operand::Size(path))
            }
            _ => self.path().map(Operand::Path),
        }
    }

    fn path(&mut self) -> Parsed<Path> {
        let mut path = vec![self.name()?];
        loop {
            if self.take(".") {
                path.push(self.name()?);
            } else if self.take("[") {
                let Token::Index(index) = self.next() else { return Err(self.wrong_at(self.at - 1)) };
                self.expect("]")?;
                path.push(Step::Index(index));
            } else {
                return Ok(path);
            }
        }
    }

    fn name(&mut self) -> Parsed<Step> {
        let step = match self.peek() {
            Token::Name(reference) => Step::Name(self.refs.name(reference)?.to_owned()),
            Token::Word(word) if RESERVED.contains(word.to_ascii_uppercase().as_str()) => {
                return Err(format!("Attribute name is a reserved keyword; reserved keyword: {word}"));
            }
            Token::Word(word) => Step::Name(word.to_owned()),
            _ => return self.wrong(),
        };
        self.next();
        Ok(step)
    }

    fn assignment(&mut self) -> Parsed<(Path, SetTo)> {
        let path = self.path()?;
        self.expect("=")?;
        let first = self.term()?;
        let plus = self.take("+");
        if !plus && !self.take("-") {
            return Ok((path, SetTo::Term(first)));
        }
        let second = self.term()?;
        for term in [&first, &second] {
            if let Term::Value(value) = term
                && !matches!(value, Value::N(_))
            {
                return wrong_type(if plus { "+" } else { "-" }, value);
            }
        }
        Ok((path, if plus { SetTo::Plus(first, second) } else { SetTo::Minus(first, second) }))
    }

    fn term(&mut self) -> Parsed<Term> {
        let (Token::Word(function), Some(Token::Sign("("))) = (self.peek(), self.tokens.get(self.at + 1)) else {
            return match self.operand()? {
                Operand::Path(path) => Ok(Term::Path(path)),
                Operand::Value(value) => Ok(Term::Value(value)),
                Operand::Size(_) => self.wrong(),
            };
        };
        self.next();
        self.next();
        self.depth += 1;
        if self.depth > MOST_NESTED {
            return Err("The expression has exceeded the maximum nesting depth".into());
        }
        let term = match function {
            "if_not_exists" => {
                let path = self.path()?;
                self.expect(",")?;
                Term::IfNotExists(path, Box::new(self.term()?))
            }
            "list_append" => {
                let first = self.term()?;
                self.expect(",")?;
                let second = self.term()?;
                for term in [&first, &second] {
                    if let Term::Value(value) = term
                        && !matches!(value, Value::L(_))
                    {
                        return wrong_type(function, value);
                    }
                }
                Term::ListAppend(Box::new(first), Box::new(second))
            }
            _ if FUNCTIONS.contains(&function) => return Err(format!("The function is not allowed in an update expression; function: {function}")),
            _ => return Err(format!("Invalid function name; function: {function}")),
        };
        self.expect(")")?;
        self.depth -= 1;
        Ok(term)
    }

    fn path_and_value(&mut self, section: &str) -> Parsed<(Path, Value)> {
        let path = self.path()?;
        let Token::Value(reference) = self.peek() else { return self.wrong() };
        let value = self.refs.value(reference)?.clone();
        self.next();
        let set = matches!(value, Value::Ss(_) | Value::Ns(_) | Value::Bs(_));
        if !set && (section == "DELETE" || !matches!(value, Value::N(_))) {
            return wrong_type(section, &value);
        }
        Ok((path, value))
    }
}

fn wrong_type<T>(operator: &str, value: &Value) -> Parsed<T> {
    Err(format!("Incorrect operand type for operator or function; operator or function: {operator}, operand type: {}", value.kind()))
}

fn ordered(operand: &Operand, operator: &str) -> Parsed<()> {
    match operand {
        Operand::Value(value) if !matches!(value, Value::S(_) | Value::N(_) | Value::B(_)) => wrong_type(operator, value),
        _ => Ok(()),
    }
}
