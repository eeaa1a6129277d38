//! Templates against fixed values.

use serde_json::json;

use super::*;
use crate::army::spec::testing::{Fixed, fixed};

fn scope() -> Fixed {
    fixed(json!({
        "bot": {"id": 7, "slot": 3}, "user": "ann", "off": false, "zero": 0, "nothing": null, "pi": 3.5,
        "friends": ["bob", "cid"], "reply": {"embeds": [{"title": "Hi"}]},
    }))
    .with_list("users", vec![json!("u0"), json!("u1")])
}

fn evaluate(text: &str) -> Result<Value, Unfit> {
    Template::parse(&json!(text)).unwrap().evaluate(&mut scope())
}

#[test]
fn one_template_keeps_the_type_of_its_value() {
    for (text, value) in [
        ("{{bot.id}}", json!(7)),
        ("{{off}}", json!(false)),
        ("{{pi}}", json!(3.5)),
        ("{{ friends }}", json!(["bob", "cid"])),
        ("{{friends.1}}", json!("cid")),
        ("{{reply.embeds.0.title}}", json!("Hi")),
        ("k{{bot.slot}}-{{off}}", json!("k3-false")),
        ("{{now}}", json!(1_767_268_800_000_i64)),
        ("{{\"}}\"}} or {{5}}", json!("}} or 5")),
        ("plain", json!("plain")),
    ] {
        assert_eq!(evaluate(text), Ok(value), "{text}");
    }
}

#[test]
fn what_is_missing_is_no_empty_text() {
    for text in ["{{nobody}}", "a {{bot.nose}}", "{{friends.9}}", "{{nothing}}", "{{config.x}}"] {
        assert!(matches!(evaluate(text), Err(Unfit::Missing(_))), "{text}");
    }
}

#[test]
fn a_default_stands_for_what_is_missing_and_for_nothing_else() {
    for (text, value) in [
        ("{{nobody | none}}", json!("none")),
        ("{{nobody|5}}", json!(5)),
        ("{{nobody | \"two words\"}}", json!("two words")),
        ("{{off | true}}", json!(false)),
        ("{{zero | 5}}", json!(0)),
        ("{{nothing | 5}}", json!(5)),
    ] {
        assert_eq!(evaluate(text), Ok(value), "{text}");
    }
}

#[test]
fn random_values_are_drawn_at_every_visit() {
    let template = Template::parse(&json!("{{rand 0 1000000}}")).unwrap();
    let mut scope = scope();
    let drawn: Vec<_> = (0..8).map(|_| template.evaluate(&mut scope).unwrap()).collect();
    assert!(drawn.windows(2).all(|pair| pair[0] != pair[1]), "{drawn:?}");
    for (text, fits) in [
        ("{{rand 2 2}}", (|value: &Value| *value == json!(2)) as fn(&Value) -> bool),
        ("{{rand 0 0.5}}", |value| value.as_f64().is_some_and(|value| (0.0..=0.5).contains(&value))),
        ("{{pick users}}", |value| ["u0", "u1"].contains(&value.as_str().unwrap())),
        ("{{pick friends}}", |value| ["bob", "cid"].contains(&value.as_str().unwrap())),
        ("{{text 12}}", |value| value.as_str().unwrap().len() == 12),
    ] {
        let value = evaluate(text).unwrap();
        assert!(fits(&value), "{text}: {value}");
    }
}

#[test]
fn what_is_no_template_is_refused_when_it_is_read() {
    for text in ["{{", "{{a", "{{}}", "{{rand 1}}", "{{a b}}", "{{a | b c}}", "{{1a}}", "{{a..b}}", "{{\"a}}"]
    {
        assert!(Template::parse(&json!(text)).is_err(), "{text}");
    }
    for text in ["{{rand 5 1}}", "{{text 999999}}", "{{pick user}}"] {
        assert!(matches!(evaluate(text), Err(Unfit::Wrong(_))), "{text}");
    }
    let long = "{{text 2000}}".repeat(3);
    assert_eq!(evaluate(&long), Err(Unfit::TooLong));
}

#[test]
fn templates_inside_lists_and_mappings_are_found() {
    let template = Template::parse(&json!({"a": ["{{user}}", 1], "b": {"c": "{{off}}"}})).unwrap();
    assert_eq!(template.evaluate(&mut scope()), Ok(json!({"a": ["ann", 1], "b": {"c": false}})));
    let names: Vec<_> = template.uses().iter().map(Use::name).collect();
    assert_eq!(names, ["user", "off"]);
}
