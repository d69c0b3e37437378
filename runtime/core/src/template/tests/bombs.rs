//! Templates and data that try to take too long, too much memory or too deep a stack.

use std::time::Instant;

use super::*;
use crate::template::{MAX_NESTING, MAX_OUTPUT, MAX_SOURCE};

/// Debug builds under load are many times slower than what the bound of 50 ms is for.
const PATIENCE_MS: u128 = if cfg!(debug_assertions) { 5_000 } else { 50 };

/// Runs `work` until it is within `patience`, five times at most, and fails with its best time: a neighbour that
/// takes the processor away makes one run slow, work without a bound makes all of them slow.
fn in_time<T>(what: &str, patience: u128, work: impl Fn() -> T) -> T {
    let mut best = u128::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        let result = work();
        best = best.min(started.elapsed().as_millis());
        if best < patience {
            return result;
        }
    }
    panic!("{what}: {best} ms at best, {patience} ms are allowed");
}

fn large() -> World {
    let mut world = World::new();
    let many: Vec<Value> = (0..100_000).map(Value::from).collect();
    world.event.record =
        json!({"many": many, "some": vec![1; 300], "text": "x".repeat(900_000), "deep": {"a": vec!["y"; 1000]}});
    world
}

#[test]
fn bombs_end_in_an_error_quickly() {
    let world = large();
    let visits = format!("{{{{#each record.many}}}}{}{{{{/each}}}}", "{{record.none}}".repeat(1_500));
    let long_path = format!("{{{{#each record.many}}}}{{{{record{}}}}}{{{{/each}}}}", ".deep".repeat(10_000));
    for source in [
        "{{#each record.many}}{{/each}}",
        "{{#each record.some}}{{#each ../record.some}}{{/each}}{{/each}}",
        "{{#each record.some}}{{#each ../record.some}}{{#each ../../record.some}}x{{/each}}{{/each}}{{/each}}",
        "{{#each record.some}}{{record.text}}{{/each}}",
        "{{record.text}}{{record.text}}",
        "{{json record}}{{json record}}{{json record}}",
        "{{#each record.some}}{{#if (eq (sha256 record.text) 1)}}x{{/if}}{{/each}}",
        "{{#each record.some}}{{#if (length (json record))}}{{/if}}{{/each}}",
        "{{#each record.some}}{{#if (eq record.many record.many)}}{{/if}}{{/each}}",
        "{{#each record.some}}{{#if (base64 (base64 record.text))}}{{/if}}{{/each}}",
        "{{#each record.some}}{{#if (lookup @root.payload 'record')}}{{#if (sha256 @root.payload)}}{{/if}}{{/if}}{{/each}}",
        "{{#each record.many}}{{#if (date 1 '%c %c %c %c')}}{{/if}}{{#if (number this '0,0.00')}}{{/if}}{{/each}}",
        "{{length (base64 (base64 (base64 (base64 (base64 (base64 (base64 record.text)))))))}}",
        "{{#each record.many}}{{#if (join record.many)}}{{/if}}{{/each}}",
        &visits,
        &long_path,
    ] {
        let shown: String = source.chars().take(80).collect();
        let compiled = in_time(&shown, PATIENCE_MS * 4, || Template::compile(source, Place::Plain));
        let template = compiled.unwrap_or_else(|e| panic!("{shown}: {e}"));
        let scope = world.scope();
        let rendered = in_time(&shown, PATIENCE_MS, || template.render(&scope, &mut Vec::new()));
        assert!(rendered.is_err(), "{shown}");
    }
}

#[test]
fn no_single_step_is_costly_for_nothing() {
    let mut world = large();
    let zeros = format!("0.{}", "0".repeat(900_000));
    world.event.record["zeros"] = serde_json::from_str(&zeros).unwrap();
    let each = |body: &str| format!("{{{{#each record.many}}}}{body}{{{{/each}}}}");
    let key = "k".repeat(30_000);
    for (source, place) in [
        (each(&format!("{{{{#if (date 1 '{}')}}}}{{{{/if}}}}", "%c".repeat(128))), Place::Plain),
        (each(&format!("{{{{#if (and {})}}}}{{{{/if}}}}", "type ".repeat(10_000))), Place::Plain),
        (each(&format!("{{{{#if (or {})}}}}{{{{/if}}}}", "0 ".repeat(20_000))), Place::Plain),
        (each(&format!("{{{{record.[{key}]}}}}")), Place::Plain),
        (each(&format!("{{{{lookup this '{key}'}}}}")), Place::Plain),
        (each("{{#if record.zeros}}{{/if}}"), Place::Plain),
        (each("{{#if (not record.zeros)}}{{/if}}"), Place::Plain),
        (each("{{#if (gt record.zeros 1)}}{{/if}}"), Place::Plain),
        (each("{{#if (add record.zeros 1)}}{{/if}}"), Place::Plain),
        (each("{{#if (hmacSha256 this 'k')}}{{/if}}{{#if (uuid)}}{{/if}}"), Place::Plain),
        (each("a"), Place::Url),
        (each("{{record.none}}a{{this}}"), Place::Url),
        (each("<{{this}}>"), Place::Html),
    ] {
        let shown: String = source.chars().take(60).collect();
        let template = Template::compile(&source, place).unwrap_or_else(|e| panic!("{shown}: {e}"));
        let scope = world.scope();
        let rendered = in_time(&shown, PATIENCE_MS, || template.render(&scope, &mut Vec::new()));
        assert!(rendered.is_err(), "{shown}");
    }
}

#[test]
fn the_bounds_are_of_the_whole_settings() {
    let world = large();
    let config = json!({"a": "{{record.text}}", "b": "{{record.text}}"});
    let mistake = compile_config(&config).unwrap().render(&world.scope(), false).unwrap_err();
    assert_eq!(mistake.pointer, "/b");
    assert!(mistake.detail.contains(&MAX_OUTPUT.to_string()), "{mistake}");
    let config = json!({"a": "{{record.deep}}", "b": "x".repeat(MAX_OUTPUT)});
    assert!(compile_config(&config).unwrap().render(&world.scope(), false).is_err());
    // Below the bounds nothing is refused.
    let ok =
        "{{#each record.some}}{{#each ../record.deep.a}}{{#if @last}}.{{/if}}{{/each}}{{/each}}".replace("some", "few");
    let mut world = large();
    world.event.record["few"] = json!(vec![1; 40]);
    assert!(Template::compile(&ok, Place::Plain).unwrap().render(&world.scope(), &mut Vec::new()).is_ok());
}

#[test]
fn deep_and_long_templates_are_refused_before_they_are_parsed() {
    let nested = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    assert!(Template::compile(&nested("{{#if record.a}}", "{{/if}}", MAX_NESTING), Place::Plain).is_ok());
    for source in [
        nested("{{#if record.a}}", "{{/if}}", MAX_NESTING + 1),
        nested("{{ ~ # if record.a}}", "{{/if}}", 3_000),
        "{{#if record.a}}".repeat(4_000),
        format!("{{{{#if record.a}}}}{}{{{{/if}}}}", "{{else if record.b}}".repeat(3_000)),
        format!("{{{{#if record.a}}}}{}{{{{/if}}}}", "{{^if record.b}}".repeat(3_000)),
        format!("{{{{lower {}record.a{}}}}}", "(lower ".repeat(5_000), ")".repeat(5_000)),
        format!("{{{{{}", "(".repeat(60_000)),
        format!("{{{{lower {}", "[".repeat(60_000)),
        format!("{{{{lower {}", "{\"a\":".repeat(10_000)),
        "{{! -- }} {{#if record.a}} --}} {{#if record.a}}{{!-- {{/if}} --}}".repeat(900),
        "{{a".repeat(20_000),
        "{".repeat(60_000),
        "\\{{".repeat(20_000) + " {{",
        "{{record.id}}".repeat(4_000),
        "x".repeat(MAX_SOURCE) + "{{record.id}}",
    ] {
        let shown: String = source.chars().take(40).collect();
        in_time(&shown, PATIENCE_MS, || compile_error(&source));
    }
}
