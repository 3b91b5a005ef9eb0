//! Filters that look into the items of a sequence.

use std::cmp::Ordering;

use super::arguments::Args;
use super::ast::{Operator, Text};
use super::budget::Budget;
use super::evaluate::Machine;
use super::fault::{Fault, Result};
use super::filters::{self, key_of, sort};
use super::value::{Missing, Value};
use super::{operators, predicates};

/// Applies one of them.
pub(super) fn apply(machine: &mut Machine, name: &str, value: &Value, args: Args) -> Result<Value> {
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

/// The value of `a.b.0` in an item; where it is not there, the default.
pub(super) fn attribute(item: &Value, path: &Value, default: Option<&Value>, budget: &mut Budget) -> Result<Value> {
    let mut value = item.clone();
    let parts: Vec<Value> = match path.as_str() {
        None => vec![path.clone()],
        Some(path) => path
            .split('.')
            .map(|part| match part.parse::<u32>() {
                Ok(index) => Value::Int(index.into()),
                Err(_) => Value::str(part),
            })
            .collect(),
    };
    for part in &parts {
        value = operators::item(&value, part, budget)?;
        if let (Value::Undefined(_), Some(default)) = (&value, default) {
            value = default.clone();
        }
    }
    Ok(value)
}

/// The items of a value; none where it is empty, undefined or none.
fn items(machine: &mut Machine, value: &Value) -> Result<Vec<Value>> {
    if !value.truth() {
        return Ok(Vec::new());
    }
    let items = operators::items(value, &mut machine.budget)?;
    machine.budget.make_items(items.len())?;
    Ok(items.to_vec())
}

fn map(machine: &mut Machine, value: &Value, mut args: Args) -> Result<Value> {
    let items = items(machine, value)?;
    let mut mapped = Vec::with_capacity(items.len());
    if args.positional.is_empty() && args.keyword.iter().any(|(name, _)| **name == *"attribute") {
        let [path, default] = args.bind("map", ["attribute", "default"], 1)?;
        let path = path.unwrap_or(Value::None);
        for item in &items {
            machine.budget.step()?;
            mapped.push(attribute(item, &path, default.as_ref(), &mut machine.budget)?);
        }
        return machine.budget.generator(mapped);
    }
    if args.positional.is_empty() {
        return Err(Fault::failed("map requires a filter argument"));
    }
    let name = args.positional.remove(0);
    let name: Text = super::arguments::text("map", &name)?.into();
    for item in items {
        mapped.push(filters::apply(machine, &name, item, args.clone())?);
    }
    machine.budget.generator(mapped)
}

fn select(machine: &mut Machine, name: &str, value: &Value, mut args: Args) -> Result<Value> {
    let path = if name.ends_with("attr") {
        if args.positional.is_empty() {
            return Err(Fault::failed(format!("{name} needs the name of an attribute")));
        }
        Some(args.positional.remove(0))
    } else {
        None
    };
    let test: Option<Text> = if args.positional.is_empty() {
        None
    } else {
        Some(super::arguments::text(name, &args.positional.remove(0))?.into())
    };
    let wanted = name.starts_with("select");
    let mut kept = Vec::new();
    for item in items(machine, value)? {
        machine.budget.step()?;
        let looked_at = match &path {
            Some(path) => attribute(&item, path, None, &mut machine.budget)?,
            None => item.clone(),
        };
        let holds = match &test {
            Some(test) => predicates::holds(machine, test, &looked_at, args.clone())?,
            None => looked_at.truth(),
        };
        if holds == wanted {
            kept.push(item);
        }
    }
    machine.budget.generator(kept)
}

/// Items with what they are sorted or compared by.
fn keyed(
    machine: &mut Machine,
    value: &Value,
    path: Option<&Value>,
    case_sensitive: bool,
) -> Result<Vec<(Value, Value)>> {
    let items = operators::items(value, &mut machine.budget)?;
    machine.budget.make(value.weight())?;
    machine.budget.make_items(items.len().saturating_mul(2))?;
    let mut pairs = Vec::with_capacity(items.len());
    for item in items.iter() {
        let key = match path {
            // Several attributes with commas between them.
            Some(Value::Str(path)) if path.contains(',') => {
                let mut keys = Vec::new();
                for path in path.split(',') {
                    let key = attribute(item, &Value::str(path), None, &mut machine.budget)?;
                    keys.push(key_of(key, case_sensitive));
                }
                machine.budget.tuple(keys)?
            }
            Some(path) => key_of(attribute(item, path, None, &mut machine.budget)?, case_sensitive),
            None => key_of(item.clone(), case_sensitive),
        };
        pairs.push((key, item.clone()));
    }
    // Sorting compares each about this often.
    let comparisons = items.len().checked_ilog2().unwrap_or(0) as usize + 1;
    machine.budget.read(value.weight().saturating_mul(comparisons))?;
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
    sort(&mut pairs, truth(reverse))?;
    machine.budget.list(pairs.into_iter().map(|(_, item)| item).collect())
}

fn unique(machine: &mut Machine, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, path] = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let mut seen = super::value::Dict::default();
    let mut kept = Vec::new();
    for (key, item) in keyed(machine, value, given(path).as_ref(), truth(case_sensitive))? {
        if seen.get(&key).is_none() {
            seen.insert(key, Value::None)?;
            kept.push(item);
        }
    }
    machine.budget.generator(kept)
}

fn group(machine: &mut Machine, value: &Value, args: Args) -> Result<Value> {
    let [path, default, case_sensitive] = args.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let (path, case_sensitive) = (path.unwrap_or(Value::None), truth(case_sensitive));
    let mut pairs = keyed(machine, value, None, true)?;
    for (key, item) in &mut pairs {
        *key = key_of(attribute(item, &path, default.as_ref(), &mut machine.budget)?, case_sensitive);
    }
    sort(&mut pairs, false)?;
    let mut groups = Vec::new();
    for chunk in pairs.chunk_by(|(a, _), (b, _)| a.equals(b)) {
        let Some((_, first)) = chunk.first() else { continue };
        let name = attribute(first, &path, default.as_ref(), &mut machine.budget)?;
        let items = machine.budget.list(chunk.iter().map(|(_, item)| item.clone()).collect())?;
        groups.push(machine.budget.tuple(vec![name, items])?);
    }
    machine.budget.list(groups)
}

fn extreme(machine: &mut Machine, largest: bool, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, path] = args.bind("max or min", ["case_sensitive", "attribute"], 0)?;
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in keyed(machine, value, given(path).as_ref(), truth(case_sensitive))? {
        let wanted = if largest { Ordering::Greater } else { Ordering::Less };
        let better = match &best {
            Some((other, _)) => operators::order(&key, other, if largest { ">" } else { "<" })? == Some(wanted),
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
    let path = given(path);
    let mut total = start.unwrap_or(Value::Int(0));
    for item in operators::items(value, &mut machine.budget)?.iter() {
        machine.budget.step()?;
        let item = match &path {
            Some(path) => attribute(item, path, None, &mut machine.budget)?,
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
        _ => return Err(Fault::failed("You can only sort by either \"key\" or \"value\"")),
    };
    let Value::Dict(dict) = value else {
        return Err(Fault::failed(format!("'{}' object has no attribute 'items'", value.type_name())));
    };
    machine.budget.make(value.weight())?;
    let case_sensitive = truth(case_sensitive);
    let mut pairs = Vec::with_capacity(dict.len());
    for (name, item) in dict.iter() {
        let key = key_of(if at == 0 { name.clone() } else { item.clone() }, case_sensitive);
        pairs.push((key, machine.budget.tuple(vec![name.clone(), item.clone()])?));
    }
    sort(&mut pairs, truth(reverse))?;
    machine.budget.list(pairs.into_iter().map(|(_, pair)| pair).collect())
}
