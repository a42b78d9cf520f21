import assert from 'node:assert';
import { addMonths, differenceInCalendarDays, eachDayOfInterval, endOfMonth, format, formatDistance, formatISO, isWithinInterval, parse, parseISO, startOfWeek } from 'date-fns';
import { de } from 'date-fns/locale';

const day = new Date(2024, 1, 29, 13, 5, 9);

export function formats() {
  assert.equal(format(day, "yyyy-MM-dd'T'HH:mm:ss EEEE do MMMM, QQQ, wo"), '2024-02-29T13:05:09 Thursday 29th February, Q1, 9th');
  assert.equal(format(day, 'EEEE, d. MMMM yyyy', { locale: de }), 'Donnerstag, 29. Februar 2024');
  assert.equal(formatISO(day, { representation: 'date' }), '2024-02-29');
  assert.equal(formatDistance(new Date(2024, 0, 1), day, { addSuffix: true }), 'about 2 months ago');
}

export function parses_and_computes() {
  assert.equal(parse('29.02.2024', 'dd.MM.yyyy', new Date(0)).getDate(), 29);
  assert.equal(parseISO('2024-02-29T13:05:09.000Z').getTime(), 1709211909000);
  assert.equal(Number.isNaN(parse('31.02.2024', 'dd.MM.yyyy', new Date(0)).getTime()), true);
  assert.equal(format(addMonths(day, 12), 'yyyy-MM-dd'), '2025-02-28');
  assert.equal(endOfMonth(day).getDate(), 29);
  assert.equal(differenceInCalendarDays(day, new Date(2024, 0, 1)), 59);
  assert.equal(eachDayOfInterval({ start: startOfWeek(day, { weekStartsOn: 1 }), end: day }).length, 4);
  assert.equal(isWithinInterval(day, { start: new Date(2024, 0, 1), end: new Date(2025, 0, 1) }), true);
}
