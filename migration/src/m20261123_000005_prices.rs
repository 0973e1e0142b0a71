//! Prices by channel and dial prefix. The default list contains round numbers that are similar to the prices of
//! carriers in 2026. Operators are expected to replace it with `tollgate price import`.

use sea_orm_migration::sea_orm::prelude::ChronoDateTimeUtc;

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Prices by dial prefix. Each entry contains the dial prefix, the country, and the price in micro-units per SMS
/// segment and per `WhatsApp` message.
const BY_PREFIX: &[(&str, &str, i64, i64)] = &[
    ("1", "US", 8_300, 14_000),
    ("1242", "BS", 61_000, 74_000),
    ("1246", "BB", 88_000, 74_000),
    ("1264", "AI", 92_000, 74_000),
    ("1268", "AG", 86_000, 74_000),
    ("1284", "VG", 88_000, 74_000),
    ("1345", "KY", 64_000, 74_000),
    ("1441", "BM", 70_000, 74_000),
    ("1473", "GD", 88_000, 74_000),
    ("1649", "TC", 92_000, 74_000),
    ("1658", "JM", 98_000, 74_000),
    ("1664", "MS", 92_000, 74_000),
    ("1721", "SX", 92_000, 74_000),
    ("1758", "LC", 88_000, 74_000),
    ("1767", "DM", 88_000, 74_000),
    ("1784", "VC", 88_000, 74_000),
    ("1809", "DO", 57_000, 74_000),
    ("1829", "DO", 57_000, 74_000),
    ("1849", "DO", 57_000, 74_000),
    ("1868", "TT", 93_000, 74_000),
    ("1869", "KN", 88_000, 74_000),
    ("1876", "JM", 98_000, 74_000),
    ("20", "EG", 215_000, 64_000),
    ("212", "MA", 96_000, 23_000),
    ("216", "TN", 190_000, 23_000),
    ("225", "CI", 178_000, 23_000),
    ("233", "GH", 120_000, 23_000),
    ("234", "NG", 105_000, 52_000),
    ("254", "KE", 74_000, 23_000),
    ("255", "TZ", 95_000, 23_000),
    ("27", "ZA", 27_000, 38_000),
    ("30", "GR", 62_000, 59_000),
    ("31", "NL", 92_000, 160_000),
    ("32", "BE", 96_000, 59_000),
    ("33", "FR", 67_000, 143_000),
    ("34", "ES", 58_000, 62_000),
    ("351", "PT", 43_000, 59_000),
    ("352", "LU", 92_000, 59_000),
    ("353", "IE", 73_000, 59_000),
    ("358", "FI", 84_000, 59_000),
    ("36", "HU", 85_000, 86_000),
    ("370", "LT", 49_000, 86_000),
    ("371", "LV", 66_000, 86_000),
    ("372", "EE", 88_000, 86_000),
    ("380", "UA", 118_000, 86_000),
    ("385", "HR", 82_000, 86_000),
    ("386", "SI", 92_000, 86_000),
    ("39", "IT", 74_000, 69_000),
    ("40", "RO", 68_000, 86_000),
    ("41", "CH", 66_000, 59_000),
    ("420", "CZ", 62_000, 86_000),
    ("421", "SK", 84_000, 86_000),
    ("43", "AT", 89_000, 59_000),
    ("44", "GB", 42_000, 53_000),
    ("45", "DK", 49_000, 59_000),
    ("46", "SE", 56_000, 59_000),
    ("47", "NO", 68_000, 59_000),
    ("48", "PL", 38_000, 86_000),
    ("49", "DE", 101_000, 137_000),
    ("51", "PE", 53_000, 70_000),
    ("52", "MX", 46_000, 31_000),
    ("54", "AR", 69_000, 62_000),
    ("55", "BR", 39_000, 63_000),
    ("56", "CL", 61_000, 89_000),
    ("57", "CO", 52_000, 13_000),
    ("593", "EC", 170_000, 74_000),
    ("60", "MY", 71_000, 86_000),
    ("61", "AU", 44_000, 73_000),
    ("62", "ID", 345_000, 41_000),
    ("63", "PH", 180_000, 73_000),
    ("64", "NZ", 95_000, 73_000),
    ("65", "SG", 47_000, 73_000),
    ("66", "TH", 24_000, 73_000),
    ("77", "KZ", 190_000, 73_000),
    ("81", "JP", 74_000, 73_000),
    ("82", "KR", 42_000, 73_000),
    ("84", "VN", 118_000, 73_000),
    ("852", "HK", 74_000, 73_000),
    ("86", "CN", 46_000, 73_000),
    ("880", "BD", 285_000, 73_000),
    ("886", "TW", 64_000, 73_000),
    ("90", "TR", 18_000, 11_000),
    ("91", "IN", 83_000, 11_000),
    ("92", "PK", 310_000, 47_000),
    ("94", "LK", 270_000, 73_000),
    ("966", "SA", 168_000, 46_000),
    ("971", "AE", 97_000, 38_000),
    ("972", "IL", 148_000, 35_000),
    ("977", "NP", 182_000, 73_000),
];

/// Prices of the channels that have one price for all destinations: 0.04 cents per e-mail, 0.1 cents per Telegram
/// message.
const EVERYWHERE: &[(&str, i64)] = &[("EMAIL", 400), ("TELEGRAM", 1_000)];

const SEEDED_AT: &str = "2026-11-23T00:00:00+00:00";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("price")
            .required(Text, &["channel", "prefix"])
            .optional(Text, &["country"])
            .required(BigInteger, &["price_micros"])
            .required(Timestamp, &["updated_at"])
            .primary_key(&["channel", "prefix"])
            .check("price_micros BETWEEN 0 AND 1000000000000000")
            .check("channel IN ('SMS', 'EMAIL', 'WHATSAPP', 'TELEGRAM')")
            .create(manager)
            .await?;
        let seeded_at: ChronoDateTimeUtc =
            SEEDED_AT.parse().expect("SEEDED_AT is written in RFC 3339");
        let mut insert = Query::insert();
        let columns = ["channel", "prefix", "country", "price_micros", "updated_at"];
        insert.into_table("price").columns(columns);
        for &(prefix, country, sms_micros, whatsapp_micros) in BY_PREFIX {
            for (channel, micros) in [("SMS", sms_micros), ("WHATSAPP", whatsapp_micros)] {
                insert.values_panic([
                    channel.into(),
                    prefix.into(),
                    country.into(),
                    micros.into(),
                    seeded_at.into(),
                ]);
            }
        }
        for &(channel, micros) in EVERYWHERE {
            insert.values_panic([
                channel.into(),
                "".into(),
                Option::<String>::None.into(),
                micros.into(),
                seeded_at.into(),
            ]);
        }
        manager.execute(insert).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "price").await
    }
}
