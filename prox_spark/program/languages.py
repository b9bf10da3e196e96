"""Language tags as sources and bundles write them: `en`, `en-GB`, `eng`, `eng_Latn`, `eng,deu`."""

from __future__ import annotations

import re

# ISO 639-1 codes with those of three letters that mean the same: of ISO 639-3, and of ISO 639-2 where that has another.
_TWO_LETTERS = """
aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak be:bel bg:bul bh:bih bi:bis
bm:bam bn:ben bo:bod,tib br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces,cze cu:chu cv:chv cy:cym,wel da:dan
de:deu,ger dv:div dz:dzo ee:ewe el:ell,gre en:eng eo:epo es:spa et:est eu:eus,baq fa:fas,per ff:ful fi:fin fj:fij fo:fao
fr:fra,fre fy:fry ga:gle gd:gla gl:glg gn:grn gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye,arm
hz:her ia:ina id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl,ice it:ita iu:iku ja:jpn jv:jav ka:kat,geo kg:kon ki:kik
kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir la:lat lb:ltz lg:lug li:lim ln:lin
lo:lao lt:lit lu:lub lv:lav mg:mlg mh:mah mi:mri,mao mk:mkd,mac ml:mal mn:mon mr:mar ms:msa,may mt:mlt my:mya,bur na:nau
nd:nde ne:nep ng:ndo nl:nld,dut nn:nno no:nor nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm or:ori os:oss pa:pan
pi:pli pl:pol ps:pus pt:por qu:que rm:roh rn:run ro:ron,rum ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag sh:hbs
si:sin sk:slk,slo sl:slv sm:smo sn:sna so:som sq:sqi,alb sr:srp ss:ssw st:sot su:sun sv:swe sw:swa ta:tam te:tel tg:tgk
th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig uk:ukr ur:urd uz:uzb ve:ven vi:vie
vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha zh:zho,chi zu:zul
"""
# Single languages, as FLORES and NLLB name them (`cmn_Hans`), that stand for those which others name.
_SINGLE = """
ar:arb ay:ayr az:azj et:ekk fa:pes gn:gug kr:knc ku:kmr lv:lvs mg:plt mn:khk ms:zsm ne:npi no:nb,nob om:gaz or:ory
ps:pbt qu:quy sw:swh uz:uzn yi:ydd zh:cmn
"""
_SHORT = {
    long: two
    for two, _, many in (pair.partition(":") for pair in (_TWO_LETTERS + _SINGLE).split())
    for long in many.split(",")
}
# Not determined, not coded, unknown, several.
_NOT_KNOWN = ("und", "mis", "unk", "mul")
_ENDS = re.compile(r"[-_,;\s]")


def primary_language(language: str) -> str:
    """Return the language of a tag, in two letters where it has two: `en` of `en-GB`, `eng` and `eng_Latn`.

    Of a list the first: Common Crawl puts the language that most of a page is in in front (`eng,deu`). Empty for a tag
    that says that the language is not known (`und`).
    """
    first = _ENDS.split(language.strip(), maxsplit=1)[0].casefold()
    return "" if first in _NOT_KNOWN else _SHORT.get(first, first)
