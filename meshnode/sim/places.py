"""Where simulated machines stand: real cities, and how long light in fibre takes between them."""

import math
from dataclasses import dataclass

from meshnode.kernel.instant import MS
from meshnode.kernel.rng import Random

SAME_CITY_US = 250
_EARTH_KM = 6371.0


@dataclass(frozen=True, slots=True)
class City:
    """One place. Machines of one city count as one site."""

    name: str
    region: str
    latitude: float
    longitude: float


CITIES = (
    City("frankfurt", "eu", 50.11, 8.68), City("london", "eu", 51.51, -0.13), City("paris", "eu", 48.86, 2.35),
    City("stockholm", "eu", 59.33, 18.07), City("madrid", "eu", 40.42, -3.70), City("warsaw", "eu", 52.23, 21.01),
    City("new-york", "us", 40.71, -74.01), City("dallas", "us", 32.78, -96.80), City("seattle", "us", 47.61, -122.33),
    City("los-angeles", "us", 34.05, -118.24), City("toronto", "us", 43.65, -79.38),
    City("sao-paulo", "sa", -23.55, -46.63), City("santiago", "sa", -33.45, -70.67),
    City("tokyo", "asia", 35.68, 139.69), City("singapore", "asia", 1.35, 103.82), City("mumbai", "asia", 19.08, 72.88),
    City("sydney", "oceania", -33.87, 151.21), City("auckland", "oceania", -36.85, 174.76),
    City("johannesburg", "africa", -26.20, 28.05), City("lagos", "africa", 6.52, 3.38),
)  # fmt: skip


def one_way_us(a: City, b: City) -> int:
    """Half of a round trip of 4 ms plus 1 ms per 75 km of great circle, which is about what the Internet gives."""
    if a == b:
        return SAME_CITY_US
    return round((4.0 + _distance_km(a, b) / 75.0) * MS / 2)


def draw_places(rng: Random, nodes: int) -> list[City]:
    """Machines cluster: a few cities of a few regions, and from three machines on at least two regions."""
    count = 1 if nodes < 2 else min(len(CITIES), 2 + nodes // 5)
    chosen = rng.sample(CITIES, count)
    while nodes > 2 and len({city.region for city in chosen}) < 2:
        chosen = rng.sample(CITIES, count)
    return [chosen[number % count] if number < count else rng.choice(chosen) for number in range(nodes)]


def _distance_km(a: City, b: City) -> float:
    """Haversine."""
    lat_a, lat_b = math.radians(a.latitude), math.radians(b.latitude)
    d_lat, d_lon = lat_b - lat_a, math.radians(b.longitude - a.longitude)
    h = math.sin(d_lat / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(d_lon / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(h))
