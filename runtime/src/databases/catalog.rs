//! What a database says of its tables: names, columns, what their types take, keys.

/// A table as the database has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// The schema, where the engine has any.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// In order.
    pub columns: Vec<Column>,
}

/// A column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// The name.
    pub name: String,
    /// What it takes.
    pub kind: Kind,
    /// PostgreSQL: the type without length and precision, as the server writes it: what bound texts are cast to.
    pub cast: String,
    /// The whole type, as the server writes it.
    pub full_type: String,
    /// The most characters.
    pub max_chars: Option<usize>,
    /// This role may read it.
    pub readable: bool,
    /// Part of the primary key.
    pub primary: bool,
    /// Its place in the key.
    pub key_place: u32,
    /// The database numbers its rows.
    pub counted: bool,
}

/// What a column takes, whatever the engine calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Whole numbers.
    Integer,
    /// Decimal numbers with all their digits.
    Decimal,
    /// Floating-point numbers.
    Float,
    /// Truth values.
    Bool,
    /// Texts.
    Text,
    /// Bytes; base64 in JSON.
    Bytes,
    /// JSON.
    Json,
    /// An instant.
    Instant,
    /// Date and time of no zone: taken as UTC.
    DateTime,
    /// A date.
    Date,
    /// A time of day.
    Time,
    /// PostgreSQL's arrays, by what they hold.
    Array(Box<Kind>),
    /// Anything else: a text that the database reads.
    Other,
}

impl Table {
    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The primary key's columns, in the key's own order, which is that of its index.
    #[must_use]
    pub fn primary_key(&self) -> Vec<&Column> {
        let mut key: Vec<&Column> = self.columns.iter().filter(|column| column.primary).collect();
        key.sort_by_key(|column| column.key_place);
        key
    }

    /// `schema.name`, or the name alone.
    #[must_use]
    pub fn qualified(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl Column {
    /// MySQL: an `ENUM` or a `SET`, which is a number with a text.
    #[must_use]
    pub fn is_enum(&self) -> bool {
        let declared = self.full_type.to_ascii_lowercase();
        declared.starts_with("enum(") || declared.starts_with("set(")
    }
}

impl Kind {
    /// A number of any sort.
    #[must_use]
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Integer | Self::Decimal | Self::Float)
    }

    /// A point in time.
    #[must_use]
    pub fn is_moment(&self) -> bool {
        matches!(self, Self::Instant | Self::DateTime)
    }

    /// PostgreSQL's type of that name; arrays are told by what they hold.
    #[must_use]
    pub fn of_postgres(name: &str) -> Self {
        match name {
            "int2" | "int4" | "int8" | "oid" => Self::Integer,
            "numeric" => Self::Decimal,
            "float4" | "float8" => Self::Float,
            "bool" => Self::Bool,
            "text" | "varchar" | "bpchar" | "name" | "citext" => Self::Text,
            "bytea" => Self::Bytes,
            "json" | "jsonb" => Self::Json,
            "timestamptz" => Self::Instant,
            "timestamp" => Self::DateTime,
            "date" => Self::Date,
            "time" | "timetz" => Self::Time,
            _ => Self::Other,
        }
    }

    /// MySQL's `data_type`, with the whole `column_type`.
    #[must_use]
    pub fn of_mysql(data_type: &str, column_type: &str) -> Self {
        match data_type.to_ascii_lowercase().as_str() {
            "tinyint" if column_type.to_ascii_lowercase().starts_with("tinyint(1)") => Self::Bool,
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Self::Integer,
            "decimal" | "numeric" => Self::Decimal,
            "float" | "double" => Self::Float,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => Self::Text,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            "json" => Self::Json,
            "timestamp" => Self::Instant,
            "datetime" => Self::DateTime,
            "date" => Self::Date,
            "time" => Self::Time,
            _ => Self::Other,
        }
    }

    /// A type as a column of SQLite declares it: SQLite's own rules of affinity, after the names that say more.
    #[must_use]
    pub fn of_sqlite(declared: &str) -> Self {
        let upper = declared.to_ascii_uppercase();
        let name = upper.split('(').next().unwrap_or_default().trim();
        match name {
            "BOOL" | "BOOLEAN" => Self::Bool,
            "JSON" | "JSONB" => Self::Json,
            "DATETIME" | "TIMESTAMP" | "TIMESTAMPTZ" => Self::Instant,
            "DATE" => Self::Date,
            "TIME" => Self::Time,
            _ if upper.contains("INT") => Self::Integer,
            _ if upper.contains("CHAR") || upper.contains("CLOB") || upper.contains("TEXT") => Self::Text,
            "" => Self::Other,
            _ if upper.contains("BLOB") => Self::Bytes,
            _ if upper.contains("REAL") || upper.contains("FLOA") || upper.contains("DOUB") => Self::Float,
            "DECIMAL" | "NUMERIC" => Self::Decimal,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_say_what_columns_take() {
        assert_eq!(Kind::of_sqlite("VARCHAR(20)"), Kind::Text);
        assert_eq!(Kind::of_sqlite("bigint unsigned"), Kind::Integer);
        assert_eq!(Kind::of_sqlite("decimal(10,2)"), Kind::Decimal);
        assert_eq!(Kind::of_sqlite(""), Kind::Other);
        assert_eq!(Kind::of_mysql("tinyint", "tinyint(1)"), Kind::Bool);
        assert_eq!(Kind::of_mysql("tinyint", "tinyint(4)"), Kind::Integer);
        assert_eq!(Kind::of_postgres("jsonb"), Kind::Json);
    }
}
