//! Where we do not differ on purpose, templates render as the `handlebars` crate renders them.

use handlebars::{Handlebars, no_escape};

use super::*;

#[test]
fn templates_render_as_the_crate_renders_them() {
    let mut handlebars = Handlebars::new();
    handlebars.register_escape_fn(no_escape);
    let world = World::new();
    let root = json!({"record": world.event.record, "env": "prd"});
    for source in [
        "a {{record.id}} b",
        "{{record.items.[0].sku}}{{record.items.1.sku}}{{record/items/1/sku}}",
        "  {{~record.id~}}  x {{{record.name}}} {{&record.name}}",
        "{{! a }}b{{!-- c }} --}}d",
        "\\{{record.id}} \\\\{{record.id}} \\x",
        "{{#if record.paid}}\n  yes\n{{else}}\n  no\n{{/if}}\nend",
        "{{#if record.zero}}a{{else if record.empty}}b{{else if record.paid}}c{{else}}d{{/if}}",
        "{{#if record.zero}}a{{else if record.empty}}b{{/if}}.",
        "{{#if record.zero}}a{{^}}b{{/if}}",
        "{{#unless record.none}}a{{else}}b{{/unless}}",
        "x\n  {{#each record.items}}\n    {{@index}} {{sku}} {{this.qty}}\n  {{/each}}\ny",
        "{{#each record.items}}{{#if @first}}first{{/if}}{{#if @last}}last{{/if}}{{/each}}",
        "{{#each record.items as |item index|}}{{index}}={{item.sku}} {{/each}}",
        "{{#each record.items as |item|}}{{#each ../record.tags as |tag|}}{{item.sku}}{{tag}}{{/each}}{{/each}}",
        "{{#each record.address}}{{@key}}:{{this}} {{/each}}",
        "{{#each record.address as |value key|}}{{key}}:{{value}} {{/each}}",
        "{{#each record.none}}a{{else}}none{{/each}}",
        "{{#with record.address}}{{city}} {{../env}} {{@root.env}}{{/with}}",
        "{{#with record.address as |a|}}{{a.city}}{{/with}}",
        "{{#with record.nope}}a{{else}}b{{/with}}",
        "{{#each record.items}}{{#with ../record.address}}{{city}}{{../sku}}{{../../env}}{{/with}}{{/each}}",
        "{{lookup record.items.0 'sku'}} {{lookup record.tags 1}}",
        "{{#if (and record.paid (not record.zero))}}a{{/if}}{{#if (or record.zero record.empty)}}b{{/if}}",
        "{{#if (gt record.total 999)}}a{{/if}}{{#if (lte record.total 999)}}b{{/if}}{{#if (eq record.address.city \"Köln\")}}c{{/if}}",
        "{{#eq record.total 1000}}a{{else}}b{{/eq}}",
        "{{~#if record.paid~}}  a  {{~else~}}  b  {{~/if~}}  c",
    ] {
        let theirs = handlebars.render_template(source, &root).unwrap_or_else(|e| panic!("{source}: {e}"));
        let template = Template::compile(source, Place::Plain).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(template.render_text(&world.scope()).unwrap(), theirs, "{source}");
    }
}
