//! librdkafka's mock cluster, which speaks the real protocol on sockets, and what stands in its topics.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

pub struct KafkaCluster {
    pub mock: MockCluster<'static, DefaultProducerContext>,
}

/// A record as a consumer sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub headers: Vec<(String, String)>,
    pub value: String,
}

impl KafkaCluster {
    pub fn start(brokers: i32) -> Self {
        Self { mock: MockCluster::new(brokers).unwrap() }
    }

    /// `host:port` of every broker.
    pub fn brokers(&self) -> Vec<String> {
        self.mock.bootstrap_servers().split(',').map(str::to_owned).collect()
    }

    pub fn port(&self) -> u16 {
        self.brokers()[0].rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// All that stands in a topic, read from the beginning to the end of each partition.
    pub fn records(&self, topic: &str, partitions: i32) -> Vec<Seen> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.mock.bootstrap_servers()).set("group.id", "test");
        config.set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let (mut seen, mut ended) = (Vec::new(), 0);
        let until = Instant::now() + Duration::from_secs(30);
        while ended < partitions {
            assert!(Instant::now() < until, "the topic's end was not reached; {} records so far", seen.len());
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => seen.push(read(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                // The consumer itself goes on after these.
                Some(Err(_)) | None => {}
            }
        }
        seen
    }
}

fn read(message: &impl Message) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default()))).collect()
    });
    Seen {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(text),
        headers,
        value: text(message.payload().unwrap_or_default()),
    }
}
