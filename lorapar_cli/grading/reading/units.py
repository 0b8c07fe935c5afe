"""Units that may follow a number. Letters that are not in this list are variables: `5x` is not 5.

Source: BIPM, The International System of Units (9th edition), tables 2 to 8, with the prefixes of
table 7; NIST Handbook 44 (2023), appendix C, for customary units; ISO 4217 for currencies. Words
of everyday counting (`apples`) need no list: `quantity` has the rule for them.
"""

from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """What a unit measures, and how many of that dimension's base unit it is.

    Attributes:
        dimension: Units of one dimension are converted; empty for those that are not.
    """

    dimension: str
    factor: Fraction


def _units(dimension: str, sizes: dict[str, str]) -> dict[str, Unit]:
    """Returns the units of a dimension, by each of their names.

    Args:
        sizes: Names, separated by spaces -> how many base units, as a fraction.
    """
    return {
        name: Unit(dimension, Fraction(size))
        for names, size in sizes.items()
        for name in names.split()
    }


# Single letters that are variables at least as often (a, b, c, d, l, t) are left out.
_EXACT: dict[str, Unit] = {
    **_units("length", {"m": "1"}),
    **_units("mass", {"g": "1"}),
    **_units("time", {"s": "1", "h": "3600"}),
    **_units("volume", {"L": "1"}),
    **_units("", {"W V N J K F C Hz Pa Ω °C °F °K kW kV kJ kN mA mV": "1"}),
    **_units("", {"MW GW kWh Wh MB GB TB kB KB Mbps Gbps kPa hPa MPa dB eV": "1"}),
}
_ANY_CASE: dict[str, Unit] = {
    **_units(
        "length",
        {
            **{"meter meters metre metres": "1", "km kilometer kilometers kilometre": "1000"},
            **{"kilometres kms": "1000", "cm cms centimeter centimeters centimetre": "1/100"},
            **{"centimetres": "1/100", "mm millimeter millimeters millimetre": "1/1000"},
            **{"millimetres": "1/1000", "dm decimeter decimeters": "1/10", "nm": "1/1000000000"},
            **{"μm": "1/1000000", "in inch inches": "0.0254", "ft foot feet '": "0.3048"},
            **{"yd yds yard yards": "0.9144", "mi mile miles": "1609.344", '"': "0.0254"},
        },
    ),
    **_units(
        "mass",
        {
            **{"gram grams gm gms": "1", "kg kgs kilogram kilograms kilo kilos": "1000"},
            **{"mg milligram milligrams": "1/1000", "oz ounce ounces": "28.349523125"},
            **{"lb lbs": "453.59237", "tonne tonnes": "1000000"},
        },
    ),
    **_units(
        "time",
        {
            **{"sec secs second seconds": "1", "ms millisecond milliseconds": "1/1000"},
            **{"min mins minute minutes": "60", "hr hrs hour hours": "3600"},
            **{"day days": "86400", "week weeks wk wks": "604800"},
        },
    ),
    **_units(
        "long time", {"month months": "1", "year years yr yrs": "12", "decade decades": "120"}
    ),
    **_units(
        "volume",
        {
            **{"liter liters litre litres": "1", "ml mls milliliter milliliters": "1/1000"},
            **{"millilitre millilitres cc": "1/1000", "dl": "1/10", "cl": "1/100"},
            **{"gal gallon gallons": "3.785411784", "qt quart quarts": "0.946352946"},
            **{"pt pint pints": "0.473176473"},
        },
    ),
    **_units("dollar", {"$ US$ USD dollar dollars bucks": "1", "¢ cent cents": "1/100"}),
    **_units("euro", {"€ EUR euro euros": "1"}),
    **_units("pound", {"£ GBP": "1"}),
    **_units("yen", {"¥ JPY yen": "1"}),
    **_units("rupee", {"₹ INR Rs rupee rupees": "1"}),
    **_units("", {"pound pounds pence yuan RMB CNY CHF francs pesos": "1"}),
    **_units("", {"% percent pct per-cent percentage": "1"}),
    **_units("", {"° deg degs degree degrees rad radian radians": "1"}),
    **_units("", {"mph kph kmh kmph fps rpm bpm mpg ha acre acres hectare hectares": "1"}),
    **_units("", {"tsp tbsp teaspoons tablespoons ton tons": "1"}),
    **_units("", {"hz khz mhz ghz cal kcal calories pcs pc pts ppl pages px pixels bits": "1"}),
    **_units("", {"bytes mol mole moles watt watts volt volts joule joules newton": "1"}),
    **_units("", {"newtons kelvin celsius fahrenheit ampere amperes amps ohm ohms": "1"}),
}
_BY_LOWER_CASE = {name.lower(): unit for name, unit in _ANY_CASE.items()}


def find_unit(name: str) -> Unit | None:
    """Returns the unit of a name, None if it is none; case counts for symbols of one letter."""
    return _EXACT.get(name) or _BY_LOWER_CASE.get(name.lower())
