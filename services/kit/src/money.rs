//! Money: an integer amount of minor units and an ISO 4217 currency. No floating point, no silent overflow.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Currencies in use, as ISO 4217 lists them (funds, metals and test codes left out).
const CURRENCIES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
    CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF \
    IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP \
    MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK \
    SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XCG \
    XOF XPF YER ZAR ZMW ZWG";

/// A currency of ISO 4217.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// Returns the three letters.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl TryFrom<String> for Currency {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(letters) if CURRENCIES.split(' ').any(|known| known == text) => Ok(Self(letters)),
            _ => Err(format!("{text:?} is not a currency of ISO 4217")),
        }
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

/// An amount in minor units (cents) of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Money {
    /// Minor units: 1999 is 19.99 in a currency with two decimals.
    #[schema(example = 1999)]
    pub amount: i64,
    /// ISO 4217 code.
    #[schema(value_type = String, example = "EUR")]
    pub currency: Currency,
}

impl Money {
    /// Returns `amount` minor units of `currency`.
    pub fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// Returns the price of `quantity` pieces, or nothing on overflow.
    pub fn times(self, quantity: i64) -> Option<Self> {
        Some(Self {
            amount: self.amount.checked_mul(quantity)?,
            ..self
        })
    }

    /// Returns the sum, or nothing on overflow or for unlike currencies.
    pub fn plus(self, other: Self) -> Option<Self> {
        if self.currency != other.currency {
            return None;
        }
        Some(Self {
            amount: self.amount.checked_add(other.amount)?,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eur(amount: i64) -> Money {
        Money::new(amount, Currency::try_from("EUR".to_owned()).unwrap())
    }

    #[test]
    fn the_wire_form() {
        let money: Money = serde_json::from_str(r#"{"amount":1999,"currency":"EUR"}"#).unwrap();
        assert_eq!(money, eur(1999));
        assert_eq!(
            serde_json::to_string(&money).unwrap(),
            r#"{"amount":1999,"currency":"EUR"}"#
        );
        for bad in [
            r#"{"amount":19.99,"currency":"EUR"}"#,
            r#"{"amount":1,"currency":"eur"}"#,
            r#"{"amount":1,"currency":"EU "}"#,
        ] {
            assert!(serde_json::from_str::<Money>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_silent_overflow_and_no_mixed_currencies() {
        assert_eq!(eur(i64::MAX).times(2), None);
        assert_eq!(eur(i64::MAX).plus(eur(1)), None);
        assert_eq!(
            eur(1).plus(Money::new(1, Currency::try_from("USD".to_owned()).unwrap())),
            None
        );
        assert_eq!(
            eur(2).times(3).and_then(|six| six.plus(eur(1))),
            Some(eur(7))
        );
    }
}
