//! The kinds of private data, named as Presidio names them.

use crate::{GatewayError, Result};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// A kind of private data.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A person's name.
    Person "PERSON",
    /// A country, region or town.
    Place "GPE",
    /// A company, authority or institution.
    Organization "ORGANIZATION",
    /// A postal address, or a part of one.
    Address "ADDRESS",
    /// A postal code on its own.
    ZipCode "ZIP_CODE",
    /// A nationality, religious or political group.
    Nrp "NRP",
    /// A payment card number.
    CreditCard "CREDIT_CARD",
    /// An address of a cryptocurrency.
    Crypto "CRYPTO",
    /// A date or time.
    DateTime "DATE_TIME",
    /// An e-mail address.
    Email "EMAIL_ADDRESS",
    /// An international bank account number.
    Iban "IBAN_CODE",
    /// An IPv4 or IPv6 address.
    Ip "IP_ADDRESS",
    /// A network hardware address.
    Mac "MAC_ADDRESS",
    /// A telephone number.
    Phone "PHONE_NUMBER",
    /// A web address or domain name.
    Url "URL",
    /// A certificate number of the US Drug Enforcement Administration.
    MedicalLicense "MEDICAL_LICENSE",
    /// A US social security number.
    UsSsn "US_SSN",
    /// A US individual taxpayer identification number.
    UsItin "US_ITIN",
    /// A US passport.
    UsPassport "US_PASSPORT",
    /// A US bank account.
    UsBank "US_BANK_NUMBER",
    /// A US driving licence.
    UsDriver "US_DRIVER_LICENSE",
    /// A US Medicare beneficiary identifier.
    UsMbi "US_MBI",
    /// A US national provider identifier.
    UsNpi "US_NPI",
    /// A US bank routing number.
    AbaRouting "ABA_ROUTING_NUMBER",
    /// A number of the UK health service.
    UkNhs "UK_NHS",
    /// A UK national insurance number.
    UkNino "UK_NINO",
    /// A UK passport.
    UkPassport "UK_PASSPORT",
    /// A UK postal code.
    UkPostcode "UK_POSTCODE",
    /// A UK vehicle registration.
    UkVehicle "UK_VEHICLE_REGISTRATION",
    /// A UK driving licence.
    UkDriver "UK_DRIVING_LICENCE",
    /// A German tax identification number.
    DeTaxId "DE_TAX_ID",
    /// A German tax number.
    DeTaxNumber "DE_TAX_NUMBER",
    /// A German passport.
    DePassport "DE_PASSPORT",
    /// A German identity card.
    DeIdCard "DE_ID_CARD",
    /// A German pension insurance number.
    DeSocial "DE_SOCIAL_SECURITY",
    /// A German health insurance number.
    DeHealth "DE_HEALTH_INSURANCE",
    /// A German vehicle registration.
    DeVehicle "DE_KFZ",
    /// An entry in the German commercial register.
    DeRegister "DE_HANDELSREGISTER",
    /// A German postal code.
    DePlz "DE_PLZ",
    /// A German physician number.
    DeLanr "DE_LANR",
    /// A German medical practice number.
    DeBsnr "DE_BSNR",
    /// A German driving licence.
    DeDriver "DE_FUEHRERSCHEIN",
    /// A German VAT identification number.
    DeVat "DE_VAT_ID",
    /// A French social security number.
    FrNir "FR_NIR",
    /// A French company number, or that of its establishment.
    FrSiret "FR_SIRET",
    /// A French VAT identification number.
    FrVat "FR_VAT_ID",
    /// A French identity card.
    FrIdCard "FR_ID_CARD",
    /// A French passport.
    FrPassport "FR_PASSPORT",
    /// A Spanish identity number.
    EsNif "ES_NIF",
    /// A Spanish number of foreigners.
    EsNie "ES_NIE",
    /// A Spanish passport.
    EsPassport "ES_PASSPORT",
    /// An Italian tax code.
    ItFiscal "IT_FISCAL_CODE",
    /// An Italian driving licence.
    ItDriver "IT_DRIVER_LICENSE",
    /// An Italian VAT number.
    ItVat "IT_VAT_CODE",
    /// An Italian passport.
    ItPassport "IT_PASSPORT",
    /// An Italian identity card.
    ItIdCard "IT_IDENTITY_CARD",
    /// An Indian permanent account number.
    InPan "IN_PAN",
    /// An Indian identity number.
    InAadhaar "IN_AADHAAR",
    /// An Indian vehicle registration.
    InVehicle "IN_VEHICLE_REGISTRATION",
    /// An Indian voter number.
    InVoter "IN_VOTER",
    /// An Indian passport.
    InPassport "IN_PASSPORT",
    /// An Indian goods and services tax number.
    InGstin "IN_GSTIN",
    /// An Australian business number.
    AuAbn "AU_ABN",
    /// An Australian company number.
    AuAcn "AU_ACN",
    /// An Australian tax file number.
    AuTfn "AU_TFN",
    /// An Australian Medicare number.
    AuMedicare "AU_MEDICARE",
    /// A Canadian social insurance number.
    CaSin "CA_SIN",
    /// A Canadian passport.
    CaPassport "CA_PASSPORT",
    /// A Canadian postal code.
    CaPostalCode "CA_POSTAL_CODE",
}

impl Kind {
    /// Tells if patterns and checksums recognise the kind; the tagger recognises the others.
    #[must_use]
    pub fn is_structured(self) -> bool {
        !matches!(self, Self::Person | Self::Place | Self::Organization | Self::Address | Self::ZipCode | Self::Nrp)
    }

    /// Finds the kind of a name, whatever its case.
    ///
    /// # Errors
    ///
    /// [`GatewayError::UnknownKind`].
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let expected = Self::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            GatewayError::UnknownKind { found: name.to_owned(), expected }
        })
    }
}
