//! Every client that opens connections, and how it is aimed at a host and port.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// What a client has to be told to go somewhere.
pub struct Aimed {
    /// Kind and settings of the resource `inside` that the action names.
    pub resource: Option<(&'static str, Value)>,
    pub action: &'static str,
    pub config: Value,
    /// A recipient's data lead there, not the settings: it is that recipient's fault, and no check can see it.
    pub by_recipient: bool,
}

type Aim = fn(host: &str, port: u16) -> Aimed;

/// A new client is a line here.
pub const WAYS_OUT: &[(&str, Aim)] = &[
    ("http.get", |host, port| action("http.get", json!({"url": format!("http://{host}:{port}/")}))),
    ("http.post", |host, port| action("http.post", json!({"url": format!("http://{host}:{port}/"), "body": {}}))),
    ("http.put over TLS", |host, port| action("http.put", json!({"url": format!("https://{host}:{port}/")}))),
    ("http.patch", |host, port| action("http.patch", json!({"url": format!("http://{host}:{port}/"), "body": {}}))),
    ("http.delete", |host, port| action("http.delete", json!({"url": format!("http://{host}:{port}/")}))),
    ("cache, redis", |host, port| Aimed {
        resource: Some(("caches", json!({"kind": "redis", "url": format!("redis://{host}:{port}")}))),
        ..action("cache.set", json!({"cache": "inside", "key": "k", "value": 1}))
    }),
    ("cache, redis over TLS", |host, port| Aimed {
        resource: Some(("caches", json!({"kind": "redis", "url": format!("rediss://{host}:{port}")}))),
        ..action("cache.invalidate", json!({"cache": "inside", "key": "*"}))
    }),
    ("broker, redis", |host, port| broker(json!({"kind": "redis", "url": format!("redis://{host}:{port}")}))),
    ("broker, redis cluster", |host, port| {
        broker(json!({"kind": "redis", "urls": [format!("redis://{host}:{port}")]}))
    }),
    ("broker, kafka", |host, port| broker(json!({"kind": "kafka", "brokers": [format!("{host}:{port}")]}))),
    ("broker, kafka over TLS", |host, port| {
        broker(json!({"kind": "kafka", "brokers": [format!("{host}:{port}")], "tls": true}))
    }),
    ("broker, rabbitmq", |host, port| broker(json!({"url": format!("amqp://{host}:{port}")}))),
    ("broker, rabbitmq over TLS", |host, port| broker(json!({"url": format!("amqps://{host}:{port}/v")}))),
    ("broker, mqtt", |host, port| broker(json!({"url": format!("mqtt://{host}:{port}")}))),
    ("broker, mqtt over TLS", |host, port| broker(json!({"url": format!("mqtts://{host}:{port}"), "qos": 2}))),
    ("broker, nats", |host, port| broker(json!({"url": format!("nats://{host}:{port}")}))),
    ("broker, jetstream over TLS", |host, port| {
        broker(json!({"url": format!("tls://{host}:{port}"), "jetstream": true}))
    }),
    ("database, postgres", |host, port| database(json!({"url": format!("postgres://u:p@{host}:{port}/d")}))),
    ("database, postgres over TLS", |host, port| {
        database(json!({"url": format!("postgres://u:p@{host}:{port}/d"), "tls": "verify-full"}))
    }),
    ("database, mysql", |host, port| database(json!({"url": format!("mysql://u:p@{host}:{port}/d")}))),
    ("database, mariadb over TLS", |host, port| {
        database(json!({"url": format!("mariadb://u:p@{host}:{port}/d"), "tls": "require"}))
    }),
    ("mail server", |host, port| Aimed {
        resource: Some((
            "notifications",
            json!({"smtp": {"host": host, "port": port, "tls": "none"}, "from": "a@example.com"}),
        )),
        ..action(
            "notification.email",
            json!({"notification": "inside", "recipients": "b@example.com", "subject": "s", "body": "b"}),
        )
    }),
    ("callback", |host, port| callback(format!("http://{host}:{port}/hook"))),
    ("callback over TLS", |host, port| callback(format!("https://{host}:{port}/hook"))),
    ("SMS, twilio", |host, port| {
        sms(json!({"provider": "twilio", "accountSid": "AC1", "authToken": "t", "from": "Shop",
            "baseUrl": format!("http://{host}:{port}")}))
    }),
    ("SMS, a gateway", |host, port| sms(json!({"provider": "http", "url": format!("http://{host}:{port}/send")}))),
    ("push, firebase", |host, port| {
        let url = format!("http://{host}:{port}");
        push(firebase(&url, &url))
    }),
    ("push, firebase's tokens", |host, port| {
        push(firebase("https://fcm.googleapis.com", &format!("http://{host}:{port}/token")))
    }),
    ("push, apple", |host, port| {
        let apns = json!({"teamId": "T", "keyId": "K", "privateKey": *EC, "topic": "t",
            "baseUrl": format!("https://{host}:{port}")});
        push((json!({"push": {"apns": apns}}), to(json!("a1"))))
    }),
    ("push, browsers", |host, port| {
        let public = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        let browser = json!({"endpoint": format!("http://{host}:{port}/"),
            "keys": {"p256dh": public, "auth": "BTBZMqHH6r4Tts7J_aSIgg"}});
        let key =
            json!({"privateKey": "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94", "subject": "mailto:a@example.com"});
        Aimed { by_recipient: true, ..push((json!({"push": {"webpush": key}}), to(json!([browser])))) }
    }),
    ("bucket in the path", |host, port| Aimed {
        resource: Some(("storages", json!({"bucket": "b", "endpoint": format!("http://{host}:{port}")}))),
        ..action("storage.upload", json!({"storage": "inside", "path": "p", "content": "c"}))
    }),
    ("bucket over TLS", |host, port| Aimed {
        resource: Some((
            "storages",
            json!({"bucket": "b", "endpoint": format!("https://{host}:{port}"), "accessKeyId": "i", "secretAccessKey": "k"}),
        )),
        ..action("storage.copy", json!({"storage": "inside", "from": "a", "to": "b"}))
    }),
];

/// Keys that can sign: what is signed does not get anywhere.
static RSA: LazyLock<String> = LazyLock::new(|| crate::push::rsa().0);
static EC: LazyLock<String> = LazyLock::new(|| crate::push::pem(&crate::push::ec(1)));

fn action(action: &'static str, config: Value) -> Aimed {
    Aimed { resource: None, action, config, by_recipient: false }
}

fn broker(settings: Value) -> Aimed {
    let publish = action("broker.publish", json!({"broker": "inside:t", "message": 1}));
    Aimed { resource: Some(("brokers", settings)), ..publish }
}

fn database(settings: Value) -> Aimed {
    let insert = action("database.insert", json!({"database": "inside", "table": "t", "values": {"id": 1}}));
    Aimed { resource: Some(("databases", settings)), ..insert }
}

fn callback(url: String) -> Aimed {
    let call = action("notification.callback", json!({"notification": "inside", "callback": {"body": {}}}));
    Aimed { resource: Some(("notifications", json!({"callback": {"url": url}}))), ..call }
}

fn sms(service: Value) -> Aimed {
    let send = json!({"notification": "inside", "recipients": ["+14155550100"], "body": "x"});
    Aimed { resource: Some(("notifications", json!({"sms": service}))), ..action("notification.sms", send) }
}

fn push((settings, config): (Value, Value)) -> Aimed {
    Aimed { resource: Some(("notifications", settings)), ..action("notification.push", config) }
}

/// What to send to devices.
fn to(devices: Value) -> Value {
    json!({"notification": "inside", "device_tokens": devices, "title": "t", "body": "b"})
}

/// The settings of a Firebase, and a message through it.
pub fn firebase(messages: &str, tokens: &str) -> (Value, Value) {
    let account = json!({"project_id": "p", "client_email": "a@example.com", "private_key": *RSA});
    let fcm = json!({"serviceAccount": account, "baseUrl": messages, "tokenUrl": tokens});
    (json!({"push": {"fcm": fcm}}), to(json!("a")))
}
