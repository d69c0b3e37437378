//! The calls of librdkafka that its crate has no safe form of: asking before a connection, sending, and reports.
//!
//! The crate's producers make their native settings themselves and leave no place for a connect callback.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as rd;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaType;

use crate::egress::Egress;

/// A record to be sent.
#[derive(Clone, Debug)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// What decides the partition.
    pub key: Option<String>,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// The value.
    pub value: String,
}

/// Where the cluster put a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// The partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
}

/// What the library tells.
pub(super) enum Told {
    /// The record that was sent under `id` is confirmed or will not be; said once for each.
    Report { id: usize, outcome: Result<Delivered, Code> },
    /// Something went wrong that is no record's own fault.
    Trouble { code: Code, words: String },
}

/// Who decides about connections. The library holds its address while a client lives.
pub(super) struct Guard {
    egress: Egress,
    refused: AtomicBool,
}

impl ClientContext for Guard {}

/// A producer.
pub(super) struct Native(Client<Guard>);

impl Native {
    pub fn new(egress: Egress, config: &ClientConfig) -> KafkaResult<Self> {
        let settings = config.create_native_config()?;
        // SAFETY: `settings` is a live configuration that no client has taken yet, and the callback has the type that
        // the library wants. `Client::new` sets the callback's `opaque` to the guard before the client exists.
        unsafe {
            rd::rd_kafka_conf_set_connect_cb(settings.ptr(), Some(connect));
            rd::rd_kafka_conf_set_events(
                settings.ptr(),
                rd::RD_KAFKA_EVENT_DR | rd::RD_KAFKA_EVENT_ERROR | rd::RD_KAFKA_EVENT_LOG,
            );
        }
        let guard = Guard { egress, refused: AtomicBool::new(false) };
        Client::new(config, settings, RDKafkaType::RD_KAFKA_PRODUCER, guard).map(Self)
    }

    /// How many brokers the cluster says it has. Blocks for as long as `wait`.
    pub fn brokers(&self, wait: Duration) -> KafkaResult<usize> {
        Ok(self.0.fetch_metadata(None, wait)?.brokers().len())
    }

    /// Whether the guard has refused a connection.
    pub fn met_guard(&self) -> bool {
        self.0.context().refused.load(Ordering::Relaxed)
    }

    /// Puts a copy of the record into the queue. Where it is taken, one report about `id` follows. Does not block.
    pub fn send(&self, record: &Record, id: usize) -> Result<(), Code> {
        use rd::rd_kafka_vtype_t as T;
        let topic = CString::new(record.topic.as_str()).map_err(|_| Code::InvalidTopic)?;
        let names = record.headers.iter().map(|(name, _)| CString::new(name.as_str()));
        let names: Vec<CString> = names.collect::<Result<_, _>>().map_err(|_| Code::InvalidArgument)?;
        let mut parts = vec![
            part(T::RD_KAFKA_VTYPE_TOPIC, Value { cstr: topic.as_ptr() }),
            part(T::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: rd::RD_KAFKA_MSG_F_COPY }),
            part(T::RD_KAFKA_VTYPE_VALUE, bytes(&record.value)),
            part(T::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: std::ptr::without_provenance_mut(id) }),
        ];
        parts.extend(record.key.as_deref().map(|key| part(T::RD_KAFKA_VTYPE_KEY, bytes(key))));
        for (name, (_, value)) in names.iter().zip(&record.headers) {
            let size = isize::try_from(value.len()).map_err(|_| Code::InvalidArgument)?;
            let header =
                rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 { name: name.as_ptr(), val: value.as_ptr().cast(), size };
            parts.push(part(T::RD_KAFKA_VTYPE_HEADER, Value { header }));
        }
        // SAFETY: the client is live. Each part's union member is the one that its type stands for, and what the parts
        // point to outlives the call, which copies value (COPY), key and headers. `id` is handed back, never followed.
        let error = unsafe { rd::rd_kafka_produceva(self.0.native_ptr(), parts.as_ptr(), parts.len()) };
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: `error` is not null and ours: it is read once, then given back.
        let code = unsafe { rd::rd_kafka_error_code(error) };
        unsafe { rd::rd_kafka_error_destroy(error) };
        Err(code.into())
    }

    /// Waits for what the library tells, and hands it to `each`.
    pub fn listen(&self, wait: Duration, mut each: impl FnMut(Told)) {
        let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client is live; the queue is a reference of our own, given back after its one use.
        let event = unsafe {
            let queue = rd::rd_kafka_queue_get_main(self.0.native_ptr());
            let event = rd::rd_kafka_queue_poll(queue, wait);
            rd::rd_kafka_queue_destroy(queue);
            event
        };
        if event.is_null() {
            return;
        }
        // SAFETY: `event` is not null and ours until it is destroyed below. Messages and texts are its, and are read
        // before that; `event_message_next` answers null after the last one.
        unsafe {
            match rd::rd_kafka_event_type(event) {
                rd::RD_KAFKA_EVENT_DR => {
                    while let Some(message) = rd::rd_kafka_event_message_next(event).as_ref() {
                        each(report(message));
                    }
                }
                rd::RD_KAFKA_EVENT_ERROR => {
                    let words = rd::rd_kafka_event_error_string(event);
                    let words =
                        if words.is_null() { String::new() } else { CStr::from_ptr(words).to_string_lossy().into() };
                    each(Told::Trouble { code: rd::rd_kafka_event_error(event).into(), words });
                }
                _ => {}
            }
            rd::rd_kafka_event_destroy(event);
        }
    }

    /// Gives up every record that is not confirmed yet; their reports follow.
    pub fn purge(&self) {
        let what = rd::RD_KAFKA_PURGE_F_QUEUE | rd::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is live. The call fails only for flags that it does not know.
        unsafe { rd::rd_kafka_purge(self.0.native_ptr(), what | rd::RD_KAFKA_PURGE_F_NON_BLOCKING) };
    }

    /// Records whose report has not been listened to yet.
    pub fn waiting(&self) -> bool {
        // SAFETY: the client is live.
        unsafe { rd::rd_kafka_outq_len(self.0.native_ptr()) > 0 }
    }

    /// Whether the producer cannot go on: its guarantees are broken, and a new one is needed.
    pub fn is_broken(&self) -> bool {
        // SAFETY: the client is live; without a buffer nothing is written.
        let code = unsafe { rd::rd_kafka_fatal_error(self.0.native_ptr(), std::ptr::null_mut(), 0) };
        code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
    }
}

type Value = rd::rd_kafka_vu_s__bindgen_ty_1;

fn part(vtype: rd::rd_kafka_vtype_t, u: Value) -> rd::rd_kafka_vu_t {
    rd::rd_kafka_vu_t { vtype, u }
}

fn bytes(text: &str) -> Value {
    // The library copies from there and does not write.
    let ptr = text.as_ptr().cast_mut().cast::<c_void>();
    Value { mem: rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size: text.len() } }
}

fn report(message: &rd::rd_kafka_message_t) -> Told {
    let outcome = match message.err {
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
            Ok(Delivered { partition: message.partition, offset: message.offset })
        }
        code => Err(code.into()),
    };
    Told::Report { id: message._private.addr(), outcome }
}

/// Called by the library's threads in place of `connect(2)`, on a socket that does not block: asks the guard about the
/// address, then connects. 0 where that is under way, else an `errno`.
unsafe extern "C" fn connect(
    socket: c_int,
    address: *const libc::sockaddr,
    length: c_int,
    _broker: *const c_char,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: `opaque` is the client's context, which lives until the library's threads have ended: a client drops the
    // library's handle, which joins them, before its context. The guard is `Sync` and nothing has it mutably.
    let guard = unsafe { &*opaque.cast::<Guard>().cast_const() };
    // SAFETY: the library hands over an address of that length.
    let permitted = unsafe { ip_of(address, length) }.is_some_and(|ip| guard.egress.permits(ip));
    if !permitted {
        guard.refused.store(true, Ordering::Relaxed);
        return libc::EACCES;
    }
    let Ok(length) = libc::socklen_t::try_from(length) else { return libc::EINVAL };
    // SAFETY: the library's socket and address, live during this call.
    if unsafe { libc::connect(socket, address, length) } == 0 {
        return 0;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EINPROGRESS) => 0,
        Some(errno) => errno,
        None => libc::EIO,
    }
}

/// The IP address in a socket address; `None` for other families.
///
/// # Safety
/// `address` is null or points to `length` readable bytes.
unsafe fn ip_of(address: *const libc::sockaddr, length: c_int) -> Option<IpAddr> {
    let length = usize::try_from(length).ok()?;
    if address.is_null() || length < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: the length was just checked, and is before each read of a longer address; reads need no alignment.
    unsafe {
        match c_int::from((&raw const (*address).sa_family).read_unaligned()) {
            libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
                let four = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(u32::from_be(four.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
                let six = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(six.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}
