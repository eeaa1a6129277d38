//! Comparisons against fixed values.

use serde_json::json;

use super::*;
use crate::army::spec::testing::fixed;

fn holds(text: &str) -> Result<bool, Unfit> {
    let values = json!({"n": 3, "pi": 3.5, "off": false, "text": "Pong! 12 ms", "list": [1, "two"]});
    Check::parse(text).unwrap().holds(&mut fixed(values))
}

#[test]
fn comparisons_compare() {
    for (text, expected) in [
        ("n == 3", true),
        ("n == 3.0", true),
        ("n == \"3\"", false),
        ("n != 4", true),
        ("n < pi", true),
        ("n >= 4", false),
        ("off == false", true),
        ("text contains \"Pong!\"", true),
        ("text matches \"^Pong! [0-9]+ ms$\"", true),
        ("list contains \"two\" and list contains 1", true),
        ("not n == 3 or n > 2", true),
        ("not (n == 3 or n > 2)", false),
        ("n == 1 or n == 2 and n == 3", false),
        ("{{nobody | 0}} == 0", true),
        ("n<4", true),
        ("text == \"a == b\"", false),
    ] {
        assert_eq!(holds(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_has_no_value_or_no_order_does_not_compare() {
    assert_eq!(holds("nobody == 1"), Err(Unfit::Missing("nobody".into())));
    assert!(matches!(holds("text < 5"), Err(Unfit::Wrong(_))));
    assert!(matches!(holds("n contains 5"), Err(Unfit::Wrong(_))));
}

#[test]
fn nothing_else_is_a_comparison() {
    for text in
        ["", "n", "n ==", "n = 3", "n == 3 n", "(n == 3", "n + 1 == 4", "n matches n", "text matches \"(\""]
    {
        assert!(Check::parse(text).is_err(), "{text}");
    }
    assert!(Check::parse(&"not ".repeat(100)).is_err());
}
