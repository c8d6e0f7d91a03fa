"""Cron lines: read, said in words, moved to another time zone, and written for Kubeflow, crontab and systemd."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import NamedTuple

from components.errors import UsageError
from components.formatting import in_words

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
ITEM = re.compile(r"(?P<low>\*|\?|[0-9]+|[a-z]{3})(-(?P<high>[0-9]+|[a-z]{3}))?(/(?P<step>[0-9]+))?$")
HORIZON_DAYS = 366 * 8 + 1  # the longest way from one 29 February to the next
MINUTES_A_DAY = 24 * 60
SHOWN_TIMES = 6  # more times a day are said as minutes and hours


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    @property
    def all(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))


MINUTE = _Field("minute", 0, 59)
HOUR = _Field("hour", 0, 23)
DAY = _Field("day of the month", 1, 31)
MONTH = _Field("month", 1, 12, ("", *(name[:3].lower() for name in MONTHS)))
WEEKDAY = _Field("day of the week", 0, 6, tuple(name[:3].lower() for name in DAYS))
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


@dataclass(frozen=True)
class Cron:
    """The minutes at which something happens.

    Attributes:
        minutes: 0 to 59.
        hours: 0 to 23.
        days: of the month, from 1.
        months: from 1.
        weekdays: from 0, Sunday. Where both kinds of days are limited, a day need only be of one of them.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def __str__(self) -> str:
        """Return the five fields; lists of numbers mean the same to every scheduler."""
        values = (self.minutes, self.hours, self.days, self.months, self.weekdays)
        return " ".join(
            "*" if value == field.all else ",".join(map(str, sorted(value)))
            for field, value in zip(FIELDS, values, strict=True)
        )

    def kubeflow(self) -> str:
        """Return six fields: Kubeflow's first one is the seconds."""
        return f"0 {self}"

    def next(self, now: datetime, zone: tzinfo | None, count: int) -> list[datetime]:
        """Return the next times after now, in a time zone (None: this machine's).

        Raises:
            UsageError: when it never happens, as on 31 February.
        """
        found = list(islice(self._times(now, zone), count))
        if not found:
            raise UsageError(f"--cron: {self} never comes; expected days that the months have")
        return found

    def words(self) -> str:
        """Return it in English: `every day at 02:00`."""
        return " ".join(filter(None, (self._days_in_words(), self._times_in_words(), self._months_in_words())))

    def moved(self, minutes: int) -> "Cron":
        """Return it for a clock that is ahead by some minutes.

        Raises:
            UsageError: when cron can't say that.
        """
        total = [hour * 60 + minute + minutes for hour in self.hours for minute in self.minutes]
        times = {(one // 60 % 24, one % 60) for one in total}
        hours, of_hour = frozenset(hour for hour, _ in times), frozenset(minute for _, minute in times)
        turns = {one // MINUTES_A_DAY for one in total}
        every_day = self.days == DAY.all and self.weekdays == WEEKDAY.all and self.months == MONTH.all
        whole_weeks = self.days == DAY.all and self.months == MONTH.all and len(turns) == 1
        weekdays = frozenset((day + turn) % 7 for day in self.weekdays for turn in turns)
        if len(hours) * len(of_hour) != len(times) or not (turns == {0} or every_day or whole_weeks):
            raise UsageError(
                f"--timezone: {self} can't be said in the time zone of the scheduler, since midnight falls between; "
                "give the times in that one"
            )
        return replace(self, minutes=of_hour, hours=hours, weekdays=weekdays)

    def systemd(self, zone: str) -> list[str]:
        """Return what systemd's OnCalendar= takes; two of them where either kind of day is enough."""
        date = f"*-{_numbers(self.months, MONTH)}-"
        time = f"{_numbers(self.hours, HOUR)}:{_numbers(self.minutes, MINUTE)}:00 {zone}"
        of_week = ",".join(DAYS[day][:3] for day in sorted(self.weekdays))
        days = _numbers(self.days, DAY)
        if self._either_day():
            return [f"{date}{days} {time}", f"{of_week} {date}* {time}"]
        return [f"{of_week} {date}{days} {time}" if self.weekdays != WEEKDAY.all else f"{date}{days} {time}"]

    def _either_day(self) -> bool:
        return self.days != DAY.all and self.weekdays != WEEKDAY.all

    def _times(self, now: datetime, zone: tzinfo | None) -> Iterable[datetime]:
        first = now.astimezone(zone).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        for ahead in range(HORIZON_DAYS):
            day = first + timedelta(days=ahead)
            of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
            is_day = of_month or of_week if self._either_day() else of_month and of_week
            if is_day and day.month in self.months:
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        clock = day.replace(hour=hour, minute=minute)
                        time = (clock.replace(tzinfo=zone) if zone else clock).astimezone(UTC).astimezone(zone)
                        if time > now and time.replace(tzinfo=None) == clock:  # it is not, where clocks jump ahead
                            yield time

    def _times_in_words(self) -> str:
        minutes, hours = sorted(self.minutes), sorted(self.hours)
        if len(minutes) * len(hours) <= SHOWN_TIMES:
            return "at " + in_words([f"{hour:02}:{minute:02}" for hour in hours for minute in minutes])
        step = minutes[1] - minutes[0] if len(minutes) > 1 else 60
        even = minutes == list(range(0, 60, step)) and 60 % step == 0
        if even and step < 60:
            text = "every minute" if step == 1 else f"every {step} minutes"
        else:
            text = f"at minute {in_words([str(one) for one in minutes])} of every hour"
        return text if self.hours == HOUR.all else f"{text} in the hours {in_words([str(one) for one in hours])}"

    def _days_in_words(self) -> str:
        days = "on day " + in_words([str(day) for day in sorted(self.days)]) + " of the month"
        weekdays = "every " + in_words([DAYS[day] for day in sorted(self.weekdays, key=lambda day: (day - 1) % 7)])
        if self._either_day():
            return f"{days} and {weekdays}"
        if self.weekdays != WEEKDAY.all:
            return weekdays
        return days if self.days != DAY.all else "every day"

    def _months_in_words(self) -> str:
        months = [MONTHS[month - 1] for month in sorted(self.months)]
        return "" if self.months == MONTH.all else f"in {in_words(months)}"


def read_cron(text: str) -> Cron:
    """Return what a cron line of five fields says.

    Raises:
        UsageError: for anything else, six fields among it.
    """
    parts = text.lower().split()
    if len(parts) != len(FIELDS):
        hint = "; leave the seconds out, Assay adds them for Kubeflow" if len(parts) == len(FIELDS) + 1 else ""
        raise UsageError(
            f"--cron {text!r}: expected five fields (minute, hour, day of the month, month, day of the week) such as "
            f'"0 2 * * *", got {len(parts)}{hint}'
        )
    minutes, hours, days, months, weekdays = (
        _read_field(part, field, text) for part, field in zip(parts, FIELDS, strict=True)
    )
    stars = [part[0] in "*?" for part in (parts[2], parts[4])]
    if DAY.all != days and WEEKDAY.all != weekdays and any(stars):
        raise UsageError(f"--cron {text!r}: limits both kinds of days, which schedulers read differently; limit one")
    if not any(stars) and (days == DAY.all or weekdays == WEEKDAY.all):  # every day is of one kind
        days, weekdays = DAY.all, WEEKDAY.all
    return Cron(minutes, hours, days, months, weekdays)


def minutes_between(source: tzinfo, target: tzinfo, now: datetime) -> int:
    """Return by how many minutes the target's clock is ahead of the source's."""
    there, here = now.astimezone(target).utcoffset(), now.astimezone(source).utcoffset()
    return round(((there or timedelta()) - (here or timedelta())).total_seconds() / 60)


def next_change(source: tzinfo, target: tzinfo, now: datetime) -> datetime | None:
    """Return the day within a year on which one of two clocks is set and not the other, None where there is none."""
    present = minutes_between(source, target, now)
    days = (now + timedelta(days=ahead) for ahead in range(1, 367))
    return next((day for day in days if minutes_between(source, target, day) != present), None)


def _read_field(part: str, field: _Field, text: str) -> frozenset[int]:
    found: set[int] = set()
    for item in part.split(","):
        match = ITEM.match(item)
        if not match:
            raise UsageError(f"--cron {text!r}: {item!r} is no {field.name}; expected {_expected(field)}")
        step = int(match["step"] or 1)
        if match["low"] in "*?":
            low, high = field.low, field.high
        else:
            low = _number(match["low"], field, text)
            high = _number(match["high"], field, text) if match["high"] else field.high if match["step"] else low
        if low > high or step == 0:
            raise UsageError(f"--cron {text!r}: {item!r} is empty; expected the smaller {field.name} first")
        found |= set(range(low, high + 1, step))
    return frozenset(day % 7 for day in found) if field is WEEKDAY else frozenset(found)


def _number(text: str, field: _Field, line: str) -> int:
    number = field.words.index(text) if text in field.words else int(text) if text.isdecimal() else -1
    highest = 7 if field is WEEKDAY else field.high  # 7 is Sunday, too
    if not field.low <= number <= highest:
        raise UsageError(f"--cron {line!r}: {text!r} is no {field.name}; expected {_expected(field)}")
    return number


def _expected(field: _Field) -> str:
    return f"{field.low} to {field.high}, *, or ranges and steps such as {field.low}-{field.high}/2"


def _numbers(values: frozenset[int], field: _Field) -> str:
    return "*" if values == field.all else ",".join(f"{value:02}" for value in sorted(values))
