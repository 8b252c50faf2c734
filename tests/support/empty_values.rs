//! Configurations in which one value is missing or says nothing: a case for each key, in place of luck.

use std::collections::BTreeSet;

use serde_yaml::Value;

/// Every key that was not `seen` before, left out and with each of these values.
pub fn visit(
    root: &Value,
    values: &[&str],
    seen: &mut BTreeSet<String>,
    visit_one: &mut dyn FnMut(&str, &Value),
) {
    let values: Vec<Value> = values.iter().map(|text| serde_yaml::from_str(text).unwrap()).collect();
    let mut paths = Vec::new();
    collect_paths(root, &mut Vec::new(), &mut paths);
    for path in &paths {
        let keys: Vec<&str> = path.iter().map(|step| step.as_str().unwrap_or("[]")).collect();
        if !seen.insert(keys.join(".")) {
            continue;
        }
        for value in &values {
            let mut changed = root.clone();
            let place = child(&mut changed, path);
            *place = value.clone();
            visit_one(&format!("{path:?} = {value:?}"), &changed);
        }
        let (last, owner) = path.split_last().unwrap();
        let mut changed = root.clone();
        let place = child(&mut changed, owner);
        match place {
            Value::Mapping(map) => drop(map.remove(last)),
            Value::Sequence(list) => drop(list.remove(last.as_u64().unwrap() as usize)),
            _ => unreachable!(),
        }
        visit_one(&format!("without {path:?}"), &changed);
    }
}

fn child<'a>(root: &'a mut Value, path: &[Value]) -> &'a mut Value {
    path.iter().fold(root, |node, step| match node {
        Value::Mapping(map) => map.get_mut(step).unwrap(),
        Value::Sequence(list) => &mut list[step.as_u64().unwrap() as usize],
        _ => unreachable!(),
    })
}

/// The way to each value, from the root: keys and places in lists.
fn collect_paths(node: &Value, at: &mut Vec<Value>, paths: &mut Vec<Vec<Value>>) {
    let children: Vec<(Value, &Value)> = match node {
        Value::Mapping(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Sequence(list) => list.iter().enumerate().map(|(idx, value)| (idx.into(), value)).collect(),
        _ => return,
    };
    for (step, child) in children {
        at.push(step);
        paths.push(at.clone());
        collect_paths(child, at, paths);
        at.pop();
    }
}
