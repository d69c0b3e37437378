// Sends CloudEvents with the CNCF's SDK for JavaScript, in every mode, and prints what was sent and what was answered.
// Called with the SDK's folder, the server's address and a key.

const [sdk, base, key] = process.argv.slice(2);
const { CloudEvent, HTTP, Mode, emitterFor, httpTransport } = require(sdk);

function event(name, data, more) {
  return new CloudEvent({
    id: `js-${name}`,
    source: "/shop/js?x=1",
    type: `com.shop.${name}`,
    time: "2026-01-31T12:00:00.123Z",
    subject: 'tea 100% "green"',
    dataschema: "https://shop.example/schema",
    tenantregion: "eu",
    sequence: "0007",
    data,
    ...more,
  });
}

const events = [
  [event("json", { sku: "tea", count: 2, price: 1.5 }, { datacontenttype: "application/json" }), { sku: "tea", count: 2, price: 1.5 }],
  [event("text", "grün", { datacontenttype: "text/plain" }), "grün"],
  [event("bytes", new Uint8Array([0, 255, 16]), { datacontenttype: "application/octet-stream" }), { data_base64: "AP8Q" }],
];

/// The attributes as the SDK writes them.
function attributes(one) {
  const { data, data_base64, ...attributes } = JSON.parse(one.toString());
  return attributes;
}

async function main() {
  const sent = [];
  const headers = { authorization: `Bearer ${key}` };
  for (const [one, payload] of events) {
    for (const mode of [Mode.BINARY, Mode.STRUCTURED]) {
      const emit = emitterFor(httpTransport(`${base}/api/v1/events`), { binding: HTTP, mode });
      const answer = await emit(one, { headers });
      const event_id = JSON.parse(answer.body).event_id;
      sent.push({ mode, attributes: attributes(one), payload, event_id, answer: answer.body });
    }
  }
  // The SDK sends no batches: what it writes of each, in one array.
  const texts = events.map(([one]) => HTTP.structured(one).body);
  const message = { headers: { "content-type": "application/cloudevents-batch+json" }, body: `[${texts.join(",")}]` };
  const answer = await httpTransport(`${base}/api/v1/events`)(message, { headers });
  const { results } = JSON.parse(answer.body);
  events.forEach(([one, payload], i) => {
    sent.push({ mode: "batch", attributes: attributes(one), payload, event_id: results[i].event_id, answer: answer.body });
  });
  console.log(JSON.stringify(sent));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
