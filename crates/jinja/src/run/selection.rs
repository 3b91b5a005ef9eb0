//! Filters that evaluate each item of a sequence.

use std::cmp::Ordering;

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::python::arguments::Args;
use crate::python::sorting::sorted_by_key;
use crate::python::{attributes, compare, operators, sequences};
use crate::run::machine::Machine;
use crate::run::predicates;
use crate::syntax::ast::{Operator, Text};
use crate::value::{Missing, Value};

/// Applies a filter of this module.
pub(crate) fn apply(machine: &mut Machine, name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "map" => map(machine, value, args),
        "select" | "reject" | "selectattr" | "rejectattr" => select(machine, name, value, args),
        "sort" => sorted(machine, value, args),
        "unique" => unique(machine, value, args),
        "groupby" => group(machine, value, args),
        "max" | "min" => extreme(machine, name == "max", value, args),
        "sum" => sum(machine, value, args),
        _ => sorted_dict(machine, value, args),
    }
}

/// A path to a value inside an item, for example `a.b.0`.
pub(crate) struct Path(Vec<Value>);

impl Path {
    /// Parses a path. A value that is not a string is a single key.
    pub fn new(path: &Value, budget: &mut Budget) -> Result<Self> {
        let Some(text) = path.as_text() else { return Ok(Self(vec![path.clone()])) };
        let mut parts = Vec::new();
        budget.touch(text.len())?;
        for part in text.split('.') {
            budget.make(part.len())?;
            parts.push(match part.parse::<u32>() {
                Ok(index) => Value::Int(index.into()),
                Err(_) => Value::str(part),
            });
        }
        Ok(Self(parts))
    }

    /// Returns the value in an item, or the default if it is undefined.
    pub fn of(&self, item: &Value, default: Option<&Value>, budget: &mut Budget) -> Result<Value> {
        let mut value = item.clone();
        for part in &self.0 {
            budget.step()?;
            value = attributes::item(&value, part, budget)?;
            if let (Value::Undefined(_), Some(default)) = (&value, default) {
                value = default.clone();
            }
        }
        Ok(value)
    }
}

/// Returns the items of a value. A false value has none.
fn items(machine: &mut Machine, value: &Value) -> Result<Vec<Value>> {
    if !value.truth() {
        return Ok(Vec::new());
    }
    let items = sequences::items(value, &mut machine.budget)?;
    machine.budget.make_items(items.len())?;
    Ok(items.to_vec())
}

fn map(machine: &mut Machine, value: &Value, mut args: Args) -> Result<Value> {
    let items = items(machine, value)?;
    let mut mapped = Vec::with_capacity(items.len());
    if args.positional.is_empty() && args.keyword.iter().any(|(name, _)| **name == *"attribute") {
        let [path, default] = args.bind("map", ["attribute", "default"], 1)?;
        let path = Path::new(&path.unwrap_or(Value::None), &mut machine.budget)?;
        for item in &items {
            machine.budget.step()?;
            mapped.push(path.of(item, default.as_ref(), &mut machine.budget)?);
        }
        return machine.budget.generator(mapped);
    }
    if args.positional.is_empty() {
        return Err(Error::failed("map requires a filter argument"));
    }
    let name = args.positional.remove(0);
    let name: Text = crate::python::arguments::text("map", &name)?.text().clone();
    for item in items {
        machine.budget.step()?;
        let args = args.again(&mut machine.budget)?;
        mapped.push(machine.filter(&name, item, args)?);
    }
    machine.budget.generator(mapped)
}

fn select(machine: &mut Machine, name: &str, value: &Value, mut args: Args) -> Result<Value> {
    let path = if name.ends_with("attr") {
        if args.positional.is_empty() {
            return Err(Error::failed(format!("{name} needs the name of an attribute")));
        }
        Some(Path::new(&args.positional.remove(0), &mut machine.budget)?)
    } else {
        None
    };
    let test: Option<Text> = if args.positional.is_empty() {
        None
    } else {
        Some(crate::python::arguments::text(name, &args.positional.remove(0))?.text().clone())
    };
    let wanted = name.starts_with("select");
    let mut kept = Vec::new();
    for item in items(machine, value)? {
        machine.budget.step()?;
        let looked_at = match &path {
            Some(path) => path.of(&item, None, &mut machine.budget)?,
            None => item.clone(),
        };
        let holds = match &test {
            Some(test) => {
                let args = args.again(&mut machine.budget)?;
                predicates::holds(machine, test, &looked_at, args)?
            }
            None => looked_at.truth(),
        };
        if holds == wanted {
            kept.push(item);
        }
    }
    machine.budget.generator(kept)
}

/// Returns the items, each with its key for sorting or comparing.
fn keyed(
    machine: &mut Machine,
    value: &Value,
    path: Option<&Value>,
    case_sensitive: bool,
) -> Result<Vec<(Value, Value)>> {
    let budget = &mut machine.budget;
    let items = sequences::items(value, budget)?;
    // Counts the pairs, and two lists of them during the sort.
    budget.make_items(items.len().saturating_mul(6))?;
    // Several attributes can be separated by commas.
    let several = matches!(path, Some(Value::Str(path)) if path.contains(','));
    let paths: Vec<Path> = match path {
        Some(Value::Str(text)) if several => {
            budget.touch(text.len())?;
            text.split(',').map(|path| Path::new(&Value::str(path), budget)).collect::<Result<_>>()?
        }
        Some(path) => vec![Path::new(path, budget)?],
        None => Vec::new(),
    };
    let mut pairs = Vec::with_capacity(items.len());
    for item in items.iter() {
        budget.step()?;
        let mut keys = Vec::new();
        for path in &paths {
            budget.make(0)?;
            keys.push(key_of(path.of(item, None, budget)?, case_sensitive, budget)?);
        }
        let key = match keys.pop() {
            Some(only) if !several => only,
            Some(last) => {
                keys.push(last);
                budget.tuple(keys)?
            }
            None => key_of(item.clone(), case_sensitive, budget)?,
        };
        pairs.push((key, item.clone()));
    }
    Ok(pairs)
}

fn given(value: Option<Value>) -> Option<Value> {
    value.filter(|value| !matches!(value, Value::None))
}

fn truth(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.truth())
}

fn sorted(machine: &mut Machine, value: &Value, args: Args) -> Result<Value> {
    let [reverse, case_sensitive, path] = args.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let mut pairs = keyed(machine, value, given(path).as_ref(), truth(case_sensitive))?;
    // As in Jinja2, keys compare as items of lists do: equal keys need no order.
    for (key, _) in &mut pairs {
        *key = machine.budget.tuple(vec![key.clone()])?;
    }
    let pairs = sorted_by_key(pairs, truth(reverse), &mut machine.budget)?;
    machine.budget.list(pairs.into_iter().map(|(_, item)| item).collect())
}

fn unique(machine: &mut Machine, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, path] = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let mut seen = crate::value::collections::Dict::default();
    let mut kept = Vec::new();
    for (key, item) in keyed(machine, value, given(path).as_ref(), truth(case_sensitive))? {
        if seen.get(&key, &mut machine.budget)?.is_none() {
            machine.budget.entry(&key)?;
            seen.insert(key, Value::None)?;
            kept.push(item);
        }
    }
    machine.budget.generator(kept)
}

fn group(machine: &mut Machine, value: &Value, args: Args) -> Result<Value> {
    let [path, default, case_sensitive] = args.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let path = Path::new(&path.unwrap_or(Value::None), &mut machine.budget)?;
    let case_sensitive = truth(case_sensitive);
    let mut pairs = keyed(machine, value, None, true)?;
    let budget = &mut machine.budget;
    for (key, item) in &mut pairs {
        *key = key_of(path.of(item, default.as_ref(), budget)?, case_sensitive, budget)?;
    }
    let pairs = sorted_by_key(pairs, false, budget)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in pairs {
        budget.make_items(2)?;
        match groups.last_mut() {
            Some((last, items)) if last.equals(&key, budget)? => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut named = Vec::with_capacity(groups.len());
    for (_, items) in groups {
        let Some(first) = items.first() else { continue };
        let name = path.of(first, default.as_ref(), budget)?;
        let items = budget.list(items)?;
        named.push(budget.tuple(vec![name, items])?);
    }
    budget.list(named)
}

fn extreme(machine: &mut Machine, largest: bool, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, path] = args.bind("max or min", ["case_sensitive", "attribute"], 0)?;
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in keyed(machine, value, given(path).as_ref(), truth(case_sensitive))? {
        let wanted = if largest { Ordering::Greater } else { Ordering::Less };
        let better = match &best {
            Some((other, _)) => {
                let symbol = if largest { ">" } else { "<" };
                compare::order(&key, other, symbol, &mut machine.budget)? == Some(wanted)
            }
            None => true,
        };
        if better {
            best = Some((key, item));
        }
    }
    let empty = || Value::Undefined(Missing::Other("No aggregated item, sequence was empty.".into()));
    Ok(best.map_or_else(empty, |(_, item)| item))
}

fn sum(machine: &mut Machine, value: &Value, args: Args) -> Result<Value> {
    let [path, start] = args.bind("sum", ["attribute", "start"], 0)?;
    let path = given(path).map(|path| Path::new(&path, &mut machine.budget)).transpose()?;
    let mut total = start.unwrap_or(Value::Int(0));
    for item in sequences::items(value, &mut machine.budget)?.iter() {
        machine.budget.step()?;
        let item = match &path {
            Some(path) => path.of(item, None, &mut machine.budget)?,
            None => item.clone(),
        };
        total = operators::binary(Operator::Add, &total, &item, &mut machine.budget)?;
    }
    Ok(total)
}

fn sorted_dict(machine: &mut Machine, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let at = match by.as_ref().map(|by| by.as_str()) {
        None | Some(Some("key")) => 0,
        Some(Some("value")) => 1,
        _ => return Err(Error::failed("You can only sort by either \"key\" or \"value\"")),
    };
    let Some(dict) = value.as_dict() else {
        return Err(Error::failed(format!("'{}' object has no attribute 'items'", value.type_name())));
    };
    machine.budget.make_items(2 * dict.len())?;
    let case_sensitive = truth(case_sensitive);
    let mut pairs = Vec::with_capacity(dict.len());
    for (name, item) in dict.iter() {
        let key = if at == 0 { name.clone() } else { item.clone() };
        let key = key_of(key, case_sensitive, &mut machine.budget)?;
        pairs.push((key, machine.budget.tuple(vec![name.clone(), item.clone()])?));
    }
    let pairs = sorted_by_key(pairs, truth(reverse), &mut machine.budget)?;
    machine.budget.list(pairs.into_iter().map(|(_, pair)| pair).collect())
}

/// Returns the key that an item is sorted by. Strings are lower-cased unless `case_sensitive` is set.
fn key_of(value: Value, case_sensitive: bool, budget: &mut Budget) -> Result<Value> {
    match value.as_str() {
        Some(text) if !case_sensitive => {
            budget.make(text.len().saturating_mul(4))?;
            Ok(Value::str(text.to_lowercase()))
        }
        _ => Ok(value),
    }
}
