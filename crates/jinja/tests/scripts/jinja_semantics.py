"""Writes ../data/jinja_semantics.json: small templates and their output from Jinja2 as transformers sets it up.

    jinja_semantics.py

A list of [template, text]. The text is null if Jinja2 raises an exception. Made with transformers 5.23 and Jinja2 3.1.6.
"""

import json
import pathlib

from transformers.utils import chat_template_utils

VARIABLES = {
    "text": "Hello, <World> & 'friends' \"ü\"\n",
    "number": 7,
    "real": 2.5,
    "yes": True,
    "empty": "",
    "none": None,
    "list": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "nested": {"a": {"b": [1, {"c": "d"}]}, "items": 5, "k e y": None},
    "rows": [{"n": "x", "v": 3}, {"n": "y", "v": 1, "on": True}, {"n": "X", "v": 2, "on": False}],
    "ints": {"b": 2, "a": 1, "C": 3},
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2
-7 // 2
7 % 3
-7 % 3
7.5 // 2
-7.5 % 2
2 ** 10
2 ** -1
-2 ** 2
2 ** 3 ** 2
1 / 0
1 % 0
'a' + 1
'a' + 'b' ~ 1 ~ none ~ true ~ 1.0
1 ~ 2 + 3
'ab' * 3
3 * 'ab'
[1, 2] * 2
[1] + [2, 3]
(1,) + (2,)
[1] + (2,)
'%s is %d and %.2f' % ('x', 3, 2.345)
'%s' % 'only'
'%5d|%-5d|%05d|%+d|% d' % (42, 42, 42, 42, 42)
'%x %X %o %#x %e %g %g %g' % (255, 255, 8, 255, 12345.678, 0.0001, 1e-5, 123456789)
'%(a)s-%(b)03d' % {'a': 'x', 'b': 5}
'%r %r %s' % ('a', [1, 'b'], {'k': 1})
'%s %s' % ('one',)
'%d' % 'x'
'%5.1f%%' % 12.345
'%c%c' % ('a', 98)
'%.3s|%10s|%-10s|' % ('abcdef', 'x', 'y')
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('a', 'b')
'{name!r:>8}|{x:08.3f}|{y:,}|{z:^7}|{w:<5}|'.format(name='n', x=3.14159, y=1234567, z='mid', w=3)
'{:x} {:#b} {:e} {:g} {:%}'.format(255, 5, 1234.5, 0.00001, 0.25)
'{a[b]} {c.d}'.format(a={'b': 1}, c={'d': 2})
'{{}} {}'.format(1)
'{:>{w}}'.format('x', w=5)
'{} {}'.format(1)
1 == 1.0
true == 1
'1' == 1
[1, 2] == [1, 2.0]
(1, 2) == [1, 2]
{'a': 1} == {'a': 1.0}
none == false
1 < 2 < 3
1 < 3 < 2
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
1 in [1, 2]
'a' in 'cat'
1 in 'cat'
'a' in {'a': 1}
'x' not in ['x']
missing in [1]
1 in missing
not 1 in [2]
none < 1
true + true
true and 'x'
0 or 'x' and 'y'
not none
not not 3
1 if false
(1 if false) is defined
'a' if yes else 'b'
'a' if empty else 'b' if none else 'c'
missing
missing.x
missing[0]
missing | default('d')
none | default('d')
none | default('d', true)
empty | d('e', boolean=true)
missing is defined
missing is undefined
missing == missing
missing ~ 'x'
missing + 'x'
missing | length
missing | list
missing | string
missing | upper
missing | tojson
missing()
missing | join(',')
missing is string
missing is sequence
missing is iterable
missing is mapping
missing is none
missing < 1
-missing
nested.a.b[1].c
nested['a']['b'][0]
nested.items is defined
nested.items is number
nested['items']
nested.get('items')
nested.get('nope')
nested.get('nope', 'x')
nested.nope is defined
nested['k e y']
nested.a.b.0
nested.keys() | list
nested.values() | list | length
nested | length
nested.items() | list | last
ints.items()
ints.keys()
ints.values() | list
ints | dictsort
ints | dictsort(true)
ints | dictsort(false, 'value', true)
ints | dictsort(by='value')
ints | items | list
ints.pop('a')
list.append(4)
ints.update({'x': 1})
list[0]
list[-1]
list[5]
list[5] is defined
list['a']
list.x
list[1:]
list[:-1]
list[::-1]
list[::2]
list[-2:]
list[10:]
list[1:2:0]
list['a':]
text[:5]
text[-2]
text[::-1]
text[100] is defined
'äöü'[1]
'äöü'[::-1]
(1, 2, 3)[1:]
list | first
list | last
[] | first
[] | last is defined
list | sort
list | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
rows | sort(attribute='v') | map(attribute='n') | join
rows | sort(attribute='n,v') | map(attribute='n') | list
rows | map(attribute='v') | list
rows | map(attribute='on', default='?') | list
rows | map(attribute='on') | list
words | map('upper') | list
words | map('replace', 'a', 'z') | join('-')
rows | selectattr('on') | list | length
rows | selectattr('on', 'defined') | map(attribute='n') | list
rows | selectattr('v', '>', 1) | map(attribute='v') | list
rows | selectattr('n', 'equalto', 'x') | list
rows | selectattr('n', 'in', ['x', 'y']) | map(attribute='n') | list
rows | rejectattr('on') | map(attribute='n') | list
list | select('odd') | list
list | reject('odd') | list
list | select('gt', 1) | list
list | select | list
list | select('divisibleby', 2) | list
words | unique | list
words | unique(case_sensitive=true) | list
list | sum
rows | sum(attribute='v')
rows | sum('v', 10)
['a'] | sum
list | min
list | max
words | max
words | min(case_sensitive=true)
rows | max(attribute='v')
[] | max
list | reverse | list
'abc' | reverse
list | join
list | join(', ')
words | join('-') | length
rows | join(',', attribute='v')
[1, none, true, 'x', 1.5] | join('|')
list | batch(2) | list
list | batch(2, '-') | list
list | slice(2) | list
[1,2,3,4,5] | slice(3, 'x') | list
list | length
5 | length
none | length
list | tojson
nested | tojson
nested | tojson(indent=2)
{'b': 1, 'a': [1, {'c': none}]} | tojson(sort_keys=true, indent=1)
{'b': 1, 'a': []} | tojson(separators=(',', ':'))
text | tojson
'ü\u2028\x7f\x01/' | tojson
'ü😀' | tojson(ensure_ascii=true)
[1.0, 1e22, 1e-7, 100000000000000000000, true] | tojson
{1: 2, none: 3, true: 4, 1.5: 6} | tojson
{(1, 2): 3} | tojson
(1, 2) | tojson
[] | tojson(indent=4)
{} | tojson(indent=4)
ints.items() | tojson
ints.keys() | list | tojson
range(3) | tojson
text | trim
' x ' | trim | length
'xxaxx' | trim('x')
text | upper
text | lower
'hello wOrld' | title
'hello wOrld-foo (bar' | title
'hello WORLD' | capitalize
text | replace('l', 'L')
text | replace('l', 'L', 1)
'aaa' | replace('a', '')
5 | replace(5, 6)
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2, true)
'a\nb\n\nc\n' | indent(2, blank=true)
'a\nb' | indent('> ')
'' | indent(2, true)
5 | indent
text | escape
text | e | e
'<' | safe + '<'
'<' + ('<' | safe)
('<b>' | safe) ~ '<'
('<' | safe) * 2
('%s' | safe) % '<'
('{}' | safe).format('<')
('<' | safe).join(['<', '>'])
('<' | safe) | upper is escaped
('<' | safe).upper() + '<'
['<' | safe] | join + '<'
('a' | safe) == 'a'
'x' | safe | tojson
'3' | int + 1
'x' | int
'x' | int(5)
'3.7' | int
'0x1F' | int(0, 16)
'ff' | int(base=16)
' 12 ' | int
'1_000' | int
3.99 | int
-3.99 | int
none | int
true | int
'2.5' | float
'x' | float
'x' | float(1.5)
3 | float
2.5 | round
3.5 | round
-2.5 | round
2.675 | round(2)
2.1 | round(1, 'ceil')
2.19 | round(1, 'floor')
25 | round(-1)
7 | round
-3 | abs
-3.5 | abs
'a' | abs
text | string | length
5 | string + 'x'
none | string
[1, 'a'] | string
text | list | length
'ab' | list
nested | list
5 | list
none | list
text | wordcount
'a b c d e f' | truncate(5)
'hello big world of words' | truncate(12)
'hello big world of words' | truncate(12, true)
'hello big world' | truncate(14, false, '..', 0)
'x' | center(5) ~ '|'
'%s-%s' | format('a', 1)
'%(a)s' | format(a=1)
nested | attr('items') is callable
nested | attr('a') is defined
rows | groupby('on') | list | length
rows | groupby('n') | map('first') | list
'a' | nofilter
1 is notest
none is none
none is not none
5 is number
true is number
true is integer
5.0 is integer
5.0 is float
5 is odd
4 is even
'a' is even
9 is divisibleby 3
9 is divisibleby(2)
'a' is string
('a' | safe) is string
[] is sequence
{} is sequence
'x' is sequence
5 is sequence
ints.items() is sequence
range(2) is sequence
ints is mapping
[] is mapping
namespace() is mapping
[] is iterable
'x' is iterable
none is iterable
5 is iterable
ints.items() is iterable
true is true
1 is true
false is false
0 is false
true is boolean
1 is boolean
'abc' is lower
'ABC' is upper
'Abc' is lower
none is sameas none
1 is sameas true
1 is eq 1
1 is equalto 1.0
1 is ne 2
2 is gt 1
2 is lessthan 1
1 is in [1, 2]
3 is not in [1, 2]
'upper' is filter
'nofilter' is filter
'odd' is test
range is callable
text is callable
range(5) | list
range(1, 5) | list
range(5, 0, -2) | list
range(3)
range(1, 7, 2)
range(3)[1]
range(3)[-1]
range(10)[2:5] | list
range(3) | length
range(0)
range(100001)
range(1, 2, 0)
range('a')
dict(a=1, b=2)
dict({'a': 1}, b=2)
dict([('a', 1)])
{'a': 1, 'a': 2}
{1: 'a', 1.0: 'b', true: 'c'}
{[]: 1}
[1, 'two', 3.0, none, true, [4], (5,), (6, 7), {'k': 'v'}]
['it\'s', 'say "x"', 'both \' and "', 'tab\t', 'new\nline', 'back\\slash', 'ü', '\x00\x7f\u200b\u3000']
()
(1)
1.0
1e100
1e16
1e15
123456789.123456789
0.1 + 0.2
1e-5
0.0001
1_000
0x1F
0b101
0o17
100000000000000000000
9007199254740993
1.5e3
'\u00e9\x41\n\\n\'\"\q\101'
"double 'quotes'"
'a' 'b' "c"
'a'.upper()
'Hello'.lower().capitalize()
'hello world'.title()
"they're bill's".title()
'aBc'.swapcase()
' x '.strip() ~ '|'
'xxaxx'.strip('x')
'xyaxy'.lstrip('yx')
'xyaxy'.rstrip('yx')
' a b  c '.split()
' a b  c '.split(None, 1)
' a b  c '.rsplit(None, 1)
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
'a'.split('')
''.split()
''.split(',')
'a\nb\r\nc\x0bd'.splitlines()
'a\nb\r\nc\n'.splitlines(true)
'abcabc'.find('c')
'abcabc'.find('c', 3)
'abcabc'.rfind('c')
'abc'.find('x')
'äbc'.find('c')
'abc'.index('x')
'abcabc'.count('bc')
'aaa'.count('')
'abc'.replace('b', 'xx')
'aaa'.replace('a', 'b', 2)
'abc'.replace('', '-')
'abc'.startswith('ab')
'abc'.startswith(('x', 'a'))
'abc'.startswith('b', 1)
'abc'.endswith(('x', 'c'))
'abc'.startswith(['a'])
'abc'.startswith(1)
'-'.join(['a', 'b'])
'-'.join([1])
'-'.join('abc')
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'abc'.removeprefix('a')
'abc'.removesuffix('bc')
'7'.zfill(3)
'-7'.zfill(4)
'ab'.center(5, '*')
'ab'.center(6, '*')
'abc'.center(6, '*')
'ab'.ljust(4, '.') ~ 'ab'.rjust(4)
'abc'.isalpha()
'12'.isdigit()
'½'.isdigit()
'½'.isnumeric()
'²'.isdigit()
'²'.isdecimal()
'a1'.isalnum()
' \t'.isspace()
''.isspace()
'aB'.islower()
'AB1'.isupper()
'Ab Cd'.istitle()
'é'.isascii()
'ß'.upper()
'ΑΣ'.lower()
'a'.nope()
'a'.nope
'abc'['upper']()
(1, 2).count(1)
[1, 2, 1].index(1)
[1].index(5)
list.count(1)
''.__class__.__mro__
''['__class__'].__mro__
nested.__init__.__globals__
text.encode
nested.a.b[1:]
namespace(a=1).a
namespace(a=1).b is defined
namespace({'a': 1}).a
namespace(_a=1)
cycler('a', 'b').next()
joiner(',')() ~ 'x'
raise_exception('stop')
raise_exception()
strftime_now('%Y-%m-%d %H:%M:%S %B %b %A %a %j %p %I %y %-d %e %%')
lambda x: x
1, 2
[1, 2,]
{'a': 1,}
[
1 +
text(1)
text.upper
none.x
none.x.y
none['x'] is defined
5['x'] is defined
(none)()
rows[0]['n'] ~ rows[-1].n
rows | map('length') | list
text | length
yes | string | lower
- 3 | abs
-3 | string
not yes | string
1 + 2 | string
'a' ~ 'b' | upper
'a' == 'a' is true
5 is odd and 4 is even
5 is not odd or yes
list | map('string') | join(',') | replace(',', ';')
text.split('\n')[0].split(',')[1].strip()
words | select('in', ['a', 'b']) | list
words | map('lower') | unique | list
{'a': 1}['b'] is defined
{'a': {'b': 2}}.a['b']
[[1, 2], [3, 4]] | map('join', '-') | list
[[1, 2], [3, 4]] | map(attribute=0) | list
[{'a': {'b': 1}}] | map(attribute='a.b') | list
nested.a.b | tojson | length
'line' | indent(width=2, first=True)
[1, 2] | map('foo')
(list | map('string')) | length
list | map('string')  is string
{'a': true, 'b': none} | string
true ~ false
True and none is none
'a' if missing is defined else 'b'
1 if 2
"%s" % none
"%s" % missing
"%s" % [1, 2]
"%d" % 3.99
"%i items" % true
"%s and %s" % (1, missing)
"a%" % ()
"%" % 1
"%y" % 1
'{!x}'.format(1)
'{:d}'.format('a')
'{:d}'.format(1.5)
'{:.2f}'.format(1)
'{:5}|{:<5}|{:>5}|{:^5}'.format('a', 'b', 'c', 'd')
'{:05}|{:+}|{:.3}|{:10.2e}'.format(7, 3, 'abcdef', 1234.5)
'{:,.2f} {:_}'.format(1234567.891, 1234567)
'{}'.format(none) ~ '{}'.format(true) ~ '{:>6}'.format(true)
0 | filesizeformat
1 | filesizeformat
999.9 | filesizeformat
1000 | filesizeformat
'13000' | filesizeformat
4.1e9 | filesizeformat
1e30 | filesizeformat
123456789 | filesizeformat(true)
1023 | filesizeformat(binary=true)
'x' | filesizeformat
none | filesizeformat
'a b/c?d=é&f' | urlencode
{'a b': 'c/d', 'n': 1} | urlencode
[('a', 1), ('b', none)] | urlencode
5 | urlencode
none | urlencode
[1] | urlencode
'' | urlencode
text | striptags
'<p>Hello  <b>World</b></p>\n&lt;tag&gt; &amp;amp; &#39;x&#x27;' | striptags
'a <!-- <b> --> c < d' | striptags
'<!-- open <b>x</b>' | striptags
'<<a>b>c' | striptags
('<i>x</i>' | safe) | striptags
5 | striptags
{'class': 'a b', 'id': 'x<y', 'none': none} | xmlattr
{'class': 'a'} | xmlattr(false)
{'bad key': 1} | xmlattr
{} | xmlattr
'é'.encode()
'é'.encode('utf-8') | length
'aé€😀'.encode('ascii', 'ignore').decode()
'aé€😀'.encode('ascii', 'replace')
'aé€😀'.encode('ascii', 'xmlcharrefreplace')
'aé€😀'.encode('ascii', 'backslashreplace')
'é'.encode('ascii')
'é'.encode('latin-1')
'é'.encode('nope')
'é'.encode('utf-8').decode('latin-1')
'é\n"\''.encode().hex()
"it's".encode()
'ab'.encode() | list
'ab'.encode()[0]
'ab'.encode() == 'ab'.encode()
'ab'.encode() == 'ab'
('' | string).encode() is sameas none
'x' if ''.encode() else 'empty'
'a\tb\n\tc'.expandtabs()
'a\tb\n\tc'.expandtabs(4)
'a\tb'.expandtabs(0)
'{a} {b[0]}'.format_map({'a': 1, 'b': [2]})
'{x}'.format_map({})
'abc'.isidentifier()
'1abc'.isidentifier()
'_a1'.isidentifier()
''.isidentifier()
dict.fromkeys(['a', 'b'], 1)
dict.fromkeys('ab')
{}.fromkeys(['x'])
dict.nope is defined
'urlencode' is filter
'striptags' is filter
[3, 1.5, true, 2] | sort
[[2, 1], [1, 2], [1]] | sort
[1, 'a'] | sort
['a', none] | sort
[{}, {}] | sort
[1, 'a'] | max
[none, 1] | min
{'a': 1, 2: 3} | dictsort
{'a': 1, 2: 3} | tojson(sort_keys=true)
rows | groupby('v') | map('last') | map('length') | list
[1, [2]] | groupby(0) | list
'nan' | float | string
['b', 'B', 'a'] | sort(reverse=true)
[(1, 'b'), (1, 'a')] | sort(reverse=true) | first
'ΑΣ ΑΣ'.lower() ~ 'ΑΣ'.capitalize()
'ǆ'.title() ~ 'ß'.title() ~ 'ŉ'.upper()
'abc'[-4] is defined
'abc'[-3]
'abc'[1:-1]
'abc'[-2:10]
'abc'[2:1]
'äöü'[1:2]
'' | first is defined
'äö' | last
[none, none] | sort
[none, none] | min
'ǆ'.capitalize() ~ 'ßa'.capitalize() ~ 'ǉ x'.title()
'ß' | title
"""

TEMPLATES = [
    "a\n  {% if yes %}\nb\n  {% endif %}\nc\n",
    "a\n  {%- if yes -%}\n  b\n  {%- endif %}\n c\n\n",
    "a  {%+ if yes %}\n b{% endif +%}\n c",
    "  {# comment #}\nx{#- c -#}  y\n {# a\n b #} z",
    "  {{ 1 }}  \n  {{- 2 -}}  \n  3",
    "{% raw %}{{ x }} {% if %}\n{% endraw %}\ny",
    " {%- raw -%} {{ x }} {%- endraw -%} y",
    "\n{% set x = 1 %}\n{% set y = 2 %}\n{{ x }}{{ y }}\n\n",
    "x\r\n{% if yes %}\r\ny\r\n{% endif %}\r\nz",
    "{% for i in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}"
    "{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for i in list %}{{ loop }}{% endfor %}",
    "{% for i in list if i > 1 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% else %}none{% endfor %}",
    "{% for i in [] %}x{% else %}none{% endfor %}",
    "{% for i in none %}x{% endfor %}",
    "{% for i in missing %}x{% else %}e{% endfor %}",
    "{% for i in 5 %}x{% endfor %}",
    "{% for c in 'aü' %}[{{ c }}]{% endfor %}",
    "{% for k, v in ints.items() %}{{ k }}={{ v }},{% endfor %}",
    "{% for k in ints %}{{ k }}{% endfor %}",
    "{% for k, v in ints | dictsort %}{{ k }}={{ v }},{% endfor %}",
    "{% for a, b in [[1, 2], (3, 4)] %}{{ a + b }} {% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for i in list %}{% for j in list %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% break %}",
    "{% for i in list %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for i in list %}{{ loop.cycle() }}{% endfor %}",
    "{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{% endfor %}",
    "{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}.{{ loop.depth }}{% endif %}{% endfor %}",
    "{% for i in list %}{{ loop(i) }}{% endfor %}",
    "{% set x = 1 %}{% for i in list %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% for i in list %}{{ y is defined }}{% set y = i %}{% endfor %}{{ y is defined }}",
    "{% if yes %}{% set x = 1 %}{% endif %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for i in list %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% set x = {} %}{% set x.y = 1 %}",
    "{% set nope.y = 1 %}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = [1] %}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set x %}a{{ 1 }}{% set inner = 2 %}{% endset %}{{ x }}{{ x is string }}{{ inner is defined }}",
    "{% set x | upper | trim %} ab {% endset %}{{ x }}|",
    "{% filter upper %}a{{ 'b' }}{% endfilter %}",
    "{% filter replace('a', 'b') | trim %} aa {% endfilter %}|",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% set a = 5 %}{% with a = 1, b = a %}{{ b }}{% endwith %}",
    "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}x{% endcall %}",
    "{% macro m() %}<{{ caller(1, 2) }}>{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{{ m() }}",
    "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}",
    "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro m() %}{{ late }}{% endmacro %}{% set late = 'seen' %}{{ m() }}",
    "{% for i in [1] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro m() %}{{ i }}{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}",
    "{% macro m() %}{{ loop is defined }}{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}",
    "{% macro m(a, b) %}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.caller }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'a': 2}) }}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m() %}{% set z = 1 %}{% endmacro %}{{ m() }}{{ z is defined }}",
    "{% macro m(x) %}{{ x | upper }}{% endmacro %}{{ m('a') + 'b' }}{{ m('a') | length }}",
    "{% generation %}a{% set g = 1 %}{% endgeneration %}{{ g is defined }}",
    "{% for i in list %}{% generation %}{{ i }}{{ loop.index }}{% endgeneration %}{% endfor %}",
    "{% block b %}x{% set q = 1 %}{% endblock %}{{ q is defined }}",
    "{% if false %}{{ 'a' | nofilter }}{% endif %}ok",
    "{% if list %}a{% elif yes %}b{% else %}c{% endif %}",
    "{% if empty %}a{% elif none %}b{% else %}c{% endif %}",
    "{% if [] or {} or '' or 0 or 0.0 or none or missing %}a{% else %}b{% endif %}",
    "{% if ints.items %}method{% endif %}{% if nested.items %}too{% endif %}",
    "{% set sel = rows | selectattr('nope') %}{% if sel %}always{% endif %}{{ sel | list }}{{ sel | list }}",
    "{% set r = list | reverse %}{{ r | list }}{{ r | list }}",
    "{% for x in rows | selectattr('on') %}{{ loop.last }}{{ loop.length }}{% endfor %}",
    "{% set j = joiner(', ') %}{% for i in list %}{{ j() }}{{ i }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.next() }}",
    "{% include 'x' %}",
    "{% if false %}{% include 'x' %}{% endif %}ok",
    "{% nope %}",
    "{% if yes %}",
    "{% endif %}",
    "{{ }}",
    "{{ 1",
    "{% set true = 1 %}",
    "{{ '}}' }}{{ \"%}\" }}",
    "{{ {'a': {'b': 1}} }}",
    "{{{'a': 1}.a}}",
    "{{ [1,2][0] }}{{ {'a':1}['a'] }}{{ (1,2)[1] }}",
    "{%set x=1%}{{x}}{%if x==1%}y{%endif%}",
    "{{ messages is defined }}{{ loop is defined }}",
    "{%- for i in range(3) -%}\n  {{ i }}\n{%- endfor -%}\n",
    "{% autoescape false %}{{ '<' }}{% endautoescape %}",
    "{% print 1 + 1 %}",
    "{% for i in list -%}\n  x\n{%- endfor %}\n\n\n",
    "  {%- set x = 1 %}  \n  {%- set y = 2 -%}  \n  z",
    "\n\n{{ 1 }}\n\n",
    "{{ text }}{{ text | safe }}",
    "{% set x = 'a' %}{% set f = x.upper %}{{ f() }}",
    "{% set t = (1, 'a') %}{{ t }}{{ t[1] }}{% set a, b = t %}{{ b }}",
    "{{ namespace(a=1, b='x') }}",
    "{% if 'a' in text and text is not none and not (text == '') %}x{% endif %}",
    "{% for x in rows %}{% if not loop.last and rows[loop.index].on is defined %}{{ rows[loop.index0 + 1].n }}{% endif %}{% endfor %}",
    "{% for x in rows[::-1] %}{{ x.n }}{% endfor %}{% for x in list[1:] %}{{ loop.index0 }}{{ x }}{% endfor %}",
]


def main():
    table = []
    sources = ["{{ " + line + " }}" for line in EXPRESSIONS.strip("\n").split("\n")] + TEMPLATES
    class Now(chat_template_utils.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2024, 2, 29, 12, 34, 56)

    chat_template_utils.datetime = Now
    for source in sources:
        try:
            rendered, _ = chat_template_utils.render_jinja_template([[]], chat_template=source, **VARIABLES)
            # Addresses differ each time.
            if " at 0x" not in rendered[0]:
                table.append([source, rendered[0]])
        except Exception:
            table.append([source, None])
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in table)
    variables = json.dumps(VARIABLES, ensure_ascii=False)
    data = pathlib.Path(__file__).parent.parent / "data" / "jinja_semantics.json"
    data.write_text(f'{{"variables": {variables},\n"cases": [\n{lines}\n]}}\n')


main()
